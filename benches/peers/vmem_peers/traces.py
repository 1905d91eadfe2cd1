"""Traces: what a program allocated and freed, read from the files that `vmem replay` reads too."""

import csv
import io
import random
from dataclasses import dataclass
from pathlib import Path

ALLOCATE, FREE = 0, 1

RMM_HEADER = ["thread", "time", "action", "pointer", "size", "stream"]
LIFETIME_HEADER = ["id", "lower", "upper", "size"]
RECORDING_MAGIC = b"vmem recording "


class TraceError(Exception):
    """A file that is no trace; the text names the file and what is wrong in it."""


@dataclass
class Trace:
    """Events in order, each (ALLOCATE or FREE, block, size, stream); blocks count from 0."""

    name: str
    events: list
    blocks: int
    streams: int
    peak_live: int


class Builder:
    """Collects events, and refuses what no program could have done."""

    def __init__(self):
        self.events = []
        self.live = {}
        self.streams = {}
        self.blocks = 0
        self.now = self.peak = 0

    def allocate(self, key, size, stream=0):
        if size <= 0:
            raise ValueError(f"a block of {size} bytes")
        if key in self.live:
            raise ValueError(f"the block {key} is live already")
        self.live[key] = (self.blocks, size, stream)
        self.events.append((ALLOCATE, self.blocks, size, self._stream(stream)))
        self.blocks += 1
        self.now += size
        self.peak = max(self.peak, self.now)

    def free(self, key, stream=0):
        if key not in self.live:
            raise ValueError(f"the block {key} is not live")
        block, size, _ = self.live.pop(key)
        self.events.append((FREE, block, size, self._stream(stream)))
        self.now -= size

    def free_all(self):
        for key, (_, _, stream) in list(self.live.items()):
            self.free(key, stream)

    def finish(self, name):
        """The trace; what is live at its end is freed on its own stream."""
        if not self.blocks:
            raise ValueError("nothing is allocated in it")
        self.free_all()
        return Trace(name, self.events, self.blocks, len(self.streams), self.peak)

    def _stream(self, stream):
        return self.streams.setdefault(stream, len(self.streams))


def read(path):
    """Reads a lifetime CSV or an RMM log, told apart by how it starts."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise TraceError(f"{path}: {error.strerror}") from error
    try:
        if data.startswith(RECORDING_MAGIC):
            raise ValueError("it is one of vmem's recordings: `vmem convert` makes an RMM log of it")
        text = data.decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text.lstrip()))
        header = [field.strip().lower() for field in next(rows, [])]
        read_rows = {tuple(RMM_HEADER): _rmm_log, tuple(LIFETIME_HEADER): _lifetimes}
        if tuple(header) not in read_rows:
            raise ValueError("it starts neither as an RMM log nor as lifetimes")
        rows = ([field.strip() for field in row] for row in rows)
        return read_rows[tuple(header)](row for row in rows if any(row)).finish(path.stem)
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from error


def _rmm_log(rows):
    builder = Builder()
    for row in rows:
        if len(row) != len(RMM_HEADER):
            raise ValueError(f"{row} has not {len(RMM_HEADER)} fields")
        _, _, action, pointer, size, stream = row
        if action == "allocate":
            builder.allocate(pointer, int(size), stream)
        elif action in ("free", "deallocate"):
            builder.free(pointer, stream)
        elif action != "allocate failure":
            raise ValueError(f"the unknown action {action!r}")
    return builder


def _lifetimes(rows):
    moments = []
    for order, row in enumerate(rows):
        if len(row) != len(LIFETIME_HEADER):
            raise ValueError(f"{row} has not {len(LIFETIME_HEADER)} fields")
        block, lower, upper, size = row
        lower, upper = int(lower), int(upper)
        if upper <= lower:
            raise ValueError(f"the block {block} is not live at all")
        # Frees come before allocations at equal times.
        moments.append((upper, 0, order, block, int(size)))
        moments.append((lower, 1, order, block, int(size)))
    builder = Builder()
    for _, what, _, block, size in sorted(moments):
        if what:
            builder.allocate(block, size)
        else:
            builder.free(block)
    return builder


def churn(name, allocations, live, sizes, streams):
    """Random sizes and lifetimes: of the live blocks a random one is freed before each allocation.
    With several streams, each is used in turn, and blocks are freed on whichever it is."""
    generator = random.Random(0)
    builder = Builder()
    held = []
    for number in range(allocations):
        stream = number // 16 % streams
        if len(held) == live:
            at = generator.randrange(live)
            held[at], held[-1] = held[-1], held[at]
            builder.free(held.pop(), stream)
        builder.allocate(number, generator.randint(*sizes), stream)
        held.append(number)
    return builder.finish(name)


def defaults():
    """Small traces, for a first look: at most 135 MiB live, one stream and two."""
    return [
        churn("random", 10_000, 1_000, (256, 256 << 10), 1),
        churn("random-2s", 10_000, 1_000, (256, 256 << 10), 2),
    ]
