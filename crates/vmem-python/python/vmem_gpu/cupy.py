"""CuPy arrays from vmem.

``install()`` makes ``allocate`` CuPy's allocator. A block is freed in the order of the CuPy stream that it was
allocated on, which it keeps alive, and behind what the stream that is current at the free has queued.
Devices that are not open are opened by the environment's settings.

Streams that CuPy owns are held in vmem from their first array on, and forgotten before CuPy destroys them, so that
other streams find what was freed on them. To that end ``cupy.cuda.Stream.__del__`` is replaced.
"""

from __future__ import annotations

import typing as _typing

import cupy as _cupy

from . import Allocation, Error, OutOfMemoryError, Runtime, runtime

__all__ = ["allocate", "install"]

_current_stream = _cupy.cuda.get_current_stream
_current_device = _cupy.cuda.runtime.getDevice


def allocate(nbytes: int) -> _cupy.cuda.MemoryPointer:
    """Allocates for CuPy on the current device and stream.

    For ``cupy.cuda.set_allocator`` and ``cupy.cuda.using_allocator``. Raises CuPy's ``OutOfMemoryError``, caused
    by vmem's, where memory is exhausted.
    """
    device = _current_device()
    stream = _current_stream(device)
    if _HELD not in stream.__dict__:
        _hold(stream, device)
    try:
        owner = Allocation(nbytes, device, stream=stream, current_stream=_current_stream)
    except OutOfMemoryError as refusal:
        raise _exhausted(nbytes, device) from refusal
    memory = _cupy.cuda.UnownedMemory(owner.ptr, nbytes, owner, device)
    return _cupy.cuda.MemoryPointer(memory, 0)


def _exhausted(nbytes: int, device: int) -> MemoryError:
    stats = runtime(device).stats()
    return _cupy.cuda.memory.OutOfMemoryError(nbytes, stats.bytes, stats.limit or 0)


# What a stream has that was looked at: the runtime that holds it, or None.
_HELD = "_vmem_gpu_held"

_destroy = _cupy.cuda.Stream.__del__


def _forget_and_destroy(self: _typing.Any, *, _destroy: _typing.Any = _destroy) -> None:
    """Takes the place of ``cupy.cuda.Stream.__del__``."""
    held = self.__dict__.get(_HELD)
    if held is not None:
        try:
            held.forget_stream(self.ptr)
        except Error as error:
            # A held stream must not be destroyed: this one, which captures say, is left to the process's end.
            if error.status not in ("VMEM_ERROR_NOT_OPEN", "VMEM_ERROR_FORKED"):
                return
    _destroy(self)


def _hold(stream: _typing.Any, device: int) -> None:
    """Holds a stream if CuPy owns it, so that it is destroyed by ``_forget_and_destroy`` alone."""
    cls = _cupy.cuda.Stream
    if cls.__del__ is _destroy:
        cls.__del__ = _forget_and_destroy
    held = None
    is_owned = isinstance(stream, cls) and getattr(stream, "_foreign_stream_ref", None) is None
    # 0, 1 and 2 are nobody's. A class of the program's own may have its own end.
    if is_owned and stream.ptr > 2 and type(stream).__del__ is _forget_and_destroy:
        held = runtime(device)
        held.hold_stream(stream.ptr)
    setattr(stream, _HELD, held)


def install(device: int | None = None) -> Runtime:
    """Has CuPy allocate from vmem from now on, in every thread. Returns the current device's runtime, or that
    of ``device``, which is opened here: without a GPU this fails rather than the first array."""
    opened = runtime(_current_device() if device is None else device)
    _cupy.cuda.set_allocator(allocate)
    return opened
