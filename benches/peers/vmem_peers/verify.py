"""Blocks that are written when they are handed out and checked before they are freed.

Filling and checking are queued on the program's own streams, and the host waits for neither, so
that blocks are reused while work on them is pending, as in a program.
"""

import bisect
import ctypes
from ctypes import byref, c_uint, c_uint64, c_void_p

from .driver import DriverError

# Counts the words of a block that are not `want`.
_KERNEL = b"""
.version 6.0
.target sm_70
.address_size 64

.visible .entry check(.param .u64 block, .param .u64 words, .param .u32 want, .param .u64 wrong)
{
    .reg .pred %p<3>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<10>;

    ld.param.u64 %rd1, [block];
    ld.param.u64 %rd2, [words];
    ld.param.u32 %r1, [want];
    ld.param.u64 %rd3, [wrong];
    mov.u32 %r2, %ctaid.x;
    mov.u32 %r3, %ntid.x;
    mov.u32 %r4, %tid.x;
    mul.wide.u32 %rd4, %r2, %r3;
    cvt.u64.u32 %rd5, %r4;
    add.u64 %rd4, %rd4, %rd5;
    mov.u32 %r2, %nctaid.x;
    mul.wide.u32 %rd5, %r2, %r3;
next:
    setp.ge.u64 %p1, %rd4, %rd2;
    @%p1 bra done;
    shl.b64 %rd6, %rd4, 2;
    add.u64 %rd6, %rd1, %rd6;
    ld.global.u32 %r5, [%rd6];
    setp.eq.u32 %p2, %r5, %r1;
    @%p2 bra same;
    mov.u64 %rd7, 1;
    red.global.add.u64 [%rd3], %rd7;
same:
    add.u64 %rd4, %rd4, %rd5;
    bra next;
done:
    ret;
}
\x00"""

_THREADS, _MOST_GRIDS = 256, 1024


class Verifier:
    """Checks that live blocks do not overlap and keep what was written to them.

    Every block has a pattern of its own. The bytes after its last whole word are not checked.
    """

    def __init__(self, driver):
        self.driver = driver
        self.bytes = 0
        self.overlaps = 0
        # Where each live block starts, which one it is, and where it ends; in order.
        self._live = []
        self._wrong = c_uint64()
        driver.call("cuMemAlloc_v2", byref(self._wrong), 8)
        driver.call("cuMemsetD32Async", self._wrong, 0, 2, None)
        module, self._check = c_void_p(), c_void_p()
        driver.call("cuModuleLoadData", byref(module), _KERNEL)
        driver.call("cuModuleGetFunction", byref(self._check), module, b"check")
        driver.synchronize()

    @classmethod
    def on(cls, driver):
        """A verifier, or why there is none."""
        try:
            return cls(driver), None
        except (DriverError, AttributeError) as error:
            return None, f"nothing was verified: {error}"

    def allocated(self, block, address, size, stream):
        place, end = (address, block), address + size
        at = bisect.bisect(self._live, place)
        before = self._live[at - 1][2] if at else 0
        after = self._live[at][0] if at < len(self._live) else 2**64
        if before > address or after < end:
            self.overlaps += 1
        self._live.insert(at, (*place, end))
        if size >= 4:
            self.driver.call("cuMemsetD32Async", address, _pattern(block), size // 4, stream)

    def freeing(self, block, address, size, stream):
        del self._live[bisect.bisect(self._live, (address, block))]
        words = size // 4
        if not words:
            return
        grids = min(_MOST_GRIDS, -(-words // _THREADS))
        parameters = [c_uint64(address), c_uint64(words), c_uint(_pattern(block)), self._wrong]
        pointers = (c_void_p * len(parameters))(
            *(ctypes.cast(byref(parameter), c_void_p) for parameter in parameters)
        )
        self.driver.call(
            "cuLaunchKernel", self._check, grids, 1, 1, _THREADS, 1, 1, 0, stream, pointers, None
        )
        self.bytes += words * 4

    def wrong_words(self):
        """Waits for everything, and says how many words were not as written."""
        self.driver.synchronize()
        wrong = c_uint64()
        self.driver.call("cuMemcpyDtoH_v2", byref(wrong), self._wrong, 8)
        return wrong.value


def _pattern(block):
    """A word that no other of 2^32 blocks has (Knuth's multiplicative hash)."""
    return (block + 1) * 2654435761 & 0xFFFFFFFF
