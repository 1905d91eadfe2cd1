"""Numba's device arrays from vmem: an external memory manager.

``NUMBA_CUDA_MEMORY_MANAGER=vmem_gpu.numba``, or ``install()`` before the first array. Numba says nothing of
streams, so that blocks are allocated and freed in the order of the legacy default stream: work on streams that
do not synchronise with it must be over, or ordered before it, when an array goes.
"""

from __future__ import annotations

import itertools as _itertools
import typing as _typing
import weakref as _weakref

from numba import cuda as _cuda
from numba.cuda.cudadrv import driver as _driver

from . import Allocation, OutOfMemoryError, runtime

__all__ = ["MemoryManager", "install"]

_keys = _itertools.count()


class MemoryManager(_cuda.HostOnlyCUDAMemoryManager):
    """Numba's manager of device memory over vmem. Numba makes one for each context; pinned and mapped host
    memory stays with Numba."""

    @property
    def _device(self) -> int:
        """The device's number. A context that Numba met but did not make has the driver's own for a device."""
        device = self.context.device
        return device.id if hasattr(device, "id") else int(device)

    def initialize(self) -> None:
        """Opens the device by the environment's settings, unless it is open."""
        runtime(self._device)

    def memalloc(self, size: int) -> _driver.MemoryPointer:
        """Allocates. Raises Numba's out-of-memory error, caused by vmem's."""
        device = self._device
        exhausted = _driver.binding.CUresult.CUDA_ERROR_OUT_OF_MEMORY

        def allocate() -> Allocation:
            try:
                return Allocation(size, device)
            except OutOfMemoryError as refusal:
                raise _driver.CudaAPIError(exhausted, str(refusal)) from refusal

        # Once more after Numba's own pending frees, which may hold mapped memory.
        owner = self._attempt_allocation(allocate)
        key = ("vmem_gpu", next(_keys))
        allocations = self.allocations
        allocations[key] = owner

        def finalizer() -> None:
            # `reset` may have been here before, at exit for one.
            allocations.pop(key, None)

        pointer = _driver.binding.CUdeviceptr(owner.ptr)
        # `allocations` has the only reference from here on.
        del owner
        return _driver.MemoryPointer(_weakref.proxy(self.context), pointer, size, finalizer=finalizer)

    def get_memory_info(self) -> _driver.MemoryInfo:
        """What can still be allocated, and the most that could ever be."""
        free, total = _driver.driver.cuMemGetInfo()
        stats = runtime(self._device).stats()
        if stats.reserved is not None:
            free += stats.reserved - min(stats.reserved, stats.bytes)
        if stats.limit is not None:
            total = min(total, stats.limit)
            free = min(free, stats.limit - min(stats.limit, stats.bytes))
        return _driver.MemoryInfo(free=free, total=total)

    def get_ipc_handle(self, memory: _typing.Any) -> _typing.NoReturn:
        """Refused: the driver gives no such handles of mapped memory."""
        raise NotImplementedError(
            "vmem's memory has no CUDA IPC handles; use Numba's own memory manager for arrays to be shared"
        )

    @property
    def interface_version(self) -> int:
        """The version of Numba's interface that this is written for."""
        return 1


_numba_memory_manager = MemoryManager


def install() -> None:
    """Has Numba allocate from vmem in every context that it makes from now on."""
    _cuda.set_memory_manager(MemoryManager)
