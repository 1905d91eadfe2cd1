"""CuPy arrays from vmem.

``install()`` makes ``allocate`` CuPy's allocator. A block is freed in the order of the CuPy stream that it was
allocated on, which it keeps alive, and behind what the stream that is current at the free has queued.
Devices that are not open are opened by the environment's settings.
"""

from __future__ import annotations

import cupy as _cupy

from . import Allocation, OutOfMemoryError, Runtime, runtime

__all__ = ["allocate", "install"]


def allocate(nbytes: int) -> _cupy.cuda.MemoryPointer:
    """Allocates for CuPy on the current device and stream.

    For ``cupy.cuda.set_allocator`` and ``cupy.cuda.using_allocator``. Raises CuPy's ``OutOfMemoryError``, caused
    by vmem's, where memory is exhausted.
    """
    device = _cupy.cuda.runtime.getDevice()
    current_stream = _cupy.cuda.get_current_stream
    try:
        owner = Allocation(
            nbytes, device, stream=current_stream(device), current_stream=current_stream
        )
    except OutOfMemoryError as refusal:
        raise _exhausted(nbytes, device) from refusal
    memory = _cupy.cuda.UnownedMemory(owner.ptr, nbytes, owner, device)
    return _cupy.cuda.MemoryPointer(memory, 0)


def _exhausted(nbytes: int, device: int) -> MemoryError:
    stats = runtime(device).stats()
    return _cupy.cuda.memory.OutOfMemoryError(nbytes, stats.bytes, stats.limit or 0)


def install(device: int | None = None) -> Runtime:
    """Has CuPy allocate from vmem from now on, in every thread. Returns the current device's runtime, or that
    of ``device``, which is opened here: without a GPU this fails rather than the first array."""
    opened = runtime(_cupy.cuda.runtime.getDevice() if device is None else device)
    _cupy.cuda.set_allocator(allocate)
    return opened
