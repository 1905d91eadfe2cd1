"""cuda.core buffers from vmem, and through them DLPack.

``MemoryResource(device)`` is a resource of cuda.core: its buffers are allocated in the order of the stream that
they are asked for on, and freed in the order of the one that they are closed on.
"""

from __future__ import annotations

import typing as _typing

import cuda.core as _core

from . import Runtime, runtime
from . import find_block as _find_block
from . import free as _free

__all__ = ["MemoryResource"]


class MemoryResource(_core.MemoryResource):
    """Device memory of vmem for cuda.core. The device is opened by the environment's settings, unless it is
    open."""

    def __init__(self, device: int = 0) -> None:
        self._runtime = runtime(device)

    @property
    def runtime(self) -> Runtime:
        """The device's runtime."""
        return self._runtime

    def allocate(self, size: int, *, stream: _typing.Any) -> _core.Buffer:
        """Allocates a buffer of ``size`` bytes in the order of ``stream``. Raises
        ``vmem_gpu.OutOfMemoryError``, a ``MemoryError``, where memory is exhausted."""
        handle = _handle(stream)
        ptr = self._runtime.allocate_address(size, stream=handle)
        try:
            return _core.Buffer.from_handle(ptr, size, mr=self, stream=stream)
        except BaseException:
            _free(ptr, handle)
            raise

    def deallocate(self, ptr: _typing.Any, size: int, *, stream: _typing.Any) -> None:
        """Frees a buffer in the order of ``stream``. cuda.core calls it."""
        # The stream that a buffer remembers may be borrowed, and gone; one that a caller names exists.
        address, handle = int(ptr or 0), _handle(stream)
        is_own = address != 0 and max(_find_block(address)[3], 1) == max(handle, 1)
        _free(address, handle, vouched=not is_own)

    @property
    def is_device_accessible(self) -> bool:
        """True."""
        return True

    @property
    def is_host_accessible(self) -> bool:
        """False."""
        return False

    @property
    def is_managed(self) -> bool:
        """Whether the device was opened with managed memory."""
        return self._runtime.stats().tier == "C"

    @property
    def device_id(self) -> int:
        """The device's number."""
        return self._runtime.device


def _handle(stream: _typing.Any) -> int:
    return stream.__cuda_stream__()[1]
