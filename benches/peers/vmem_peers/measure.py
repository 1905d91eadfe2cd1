"""One trace through one stack."""

import gc
import time

from .stacks import OutOfMemory
from .traces import ALLOCATE
from .verify import Verifier

# How long a trace is repeated at least to time it, in seconds.
TIMING = 0.2
# How much more than what is live at the peak a stack may come to hold.
ROOM = 2.5


class TooLarge(Exception):
    """A trace that was not replayed, because the card may not have room for what it comes to."""


def measure(trace, stack, driver, limit, verify):
    """A row of the report: first the trace once, with what is asked of it, then again for the
    time."""
    if driver is not None and trace.peak_live * ROOM > limit:
        need = int(trace.peak_live * ROOM)
        raise TooLarge(f"not run: {need} bytes may be needed, {limit} are allowed")
    replay = Replay(trace, stack, driver)
    verifier, note = None, None
    if driver is not None and verify:
        verifier, note = Verifier.on(driver)
    failed = replay.once(_Observer(replay, driver, verifier))
    row = {
        "stack": stack.version(),
        "passed": failed is None,
        "failed_index": failed[0] if failed else None,
        "failures": 1 if failed else 0,
        "failure": failed[1] if failed else None,
        "allocations": replay.allocations,
        "peak_live_bytes": replay.peak_live,
        "peak_reserved_bytes": stack.peak_reserved(),
        "card_bytes": replay.card_bytes,
        "driver_calls": stack.driver_calls(),
        "verified_bytes": verifier.bytes if verifier else None,
        "wrong_words": verifier.wrong_words() if verifier else None,
        "overlaps": verifier.overlaps if verifier else None,
        "note": note,
        "ns_per_pair": None,
    }
    if failed is None:
        row["ns_per_pair"] = replay.fastest() / trace.blocks * 1e9
    return row


class Replay:
    """Carries a trace out. A block that is freed on another stream than its own is freed as a
    program must: the freeing stream first waits for the block's own."""

    def __init__(self, trace, stack, driver):
        self.trace, self.stack, self.driver = trace, stack, driver
        self.streams = [stack.stream() for _ in range(trace.streams)]
        self.allocations = self.peak_live = 0
        self.card_bytes = None

    def once(self, observer=None):
        """Everything, in order. Returns the index and the reason of the request that failed."""
        stack, streams, live = self.stack, self.streams, {}
        failed = None
        for index, (what, block, size, number) in enumerate(self.trace.events):
            stream = streams[number]
            if what == ALLOCATE:
                try:
                    held = stack.allocate(size, stream)
                except OutOfMemory as error:
                    failed = (index, str(error))
                    break
                live[block] = (held, size, stream)
                if observer:
                    observer.allocated(block, held, size, stream)
            else:
                self._free(block, live.pop(block), stream, observer)
        for block, held in live.items():
            self._free(block, held, held[2], observer)
        return failed

    def _free(self, block, held, stream, observer):
        held, size, own = held
        if stream != own:
            self._order(own, stream)
        if observer:
            observer.freeing(block, held, size, stream)
        if stream != own and self.stack.FREES_AT_HOME:
            self._order(stream, own)
            stream = own
        self.stack.free(held, size, stream)

    def _order(self, earlier, later):
        if self.driver is not None:
            self.driver.order(earlier, later)

    def fastest(self):
        """The seconds that the fastest of several repetitions took."""
        fastest, begin = float("inf"), time.perf_counter()
        gc.disable()
        try:
            while fastest == float("inf") or time.perf_counter() - begin < TIMING:
                self._settle()
                start = time.perf_counter()
                failed = self.once()
                fastest = min(fastest, time.perf_counter() - start)
                if failed:
                    raise OutOfMemory(f"a repetition failed at event {failed[0]}: {failed[1]}")
        finally:
            gc.enable()
        self._settle()
        return fastest

    def _settle(self):
        if self.driver is not None:
            self.driver.synchronize()


class _Observer:
    """Books what is live and what the card has left, and has blocks verified."""

    def __init__(self, replay, driver, verifier):
        self.replay, self.driver, self.verifier = replay, driver, verifier
        self.live = 0
        if driver is not None:
            driver.synchronize()
            self.free_at_first = driver.memory()[0]
            replay.card_bytes = 0

    def allocated(self, block, held, size, stream):
        replay = self.replay
        replay.allocations += 1
        self.live += size
        replay.peak_live = max(replay.peak_live, self.live)
        if self.driver is not None:
            used = self.free_at_first - self.driver.memory()[0]
            replay.card_bytes = max(replay.card_bytes, used)
        if self.verifier:
            self.verifier.allocated(block, replay.stack.address(held), size, stream)

    def freeing(self, block, held, size, stream):
        self.live -= size
        if self.verifier:
            self.verifier.freeing(block, self.replay.stack.address(held), size, stream)
