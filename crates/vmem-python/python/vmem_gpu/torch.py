"""PyTorch's memory from vmem.

``install()``, before CUDA is used, has PyTorch allocate everything from vmem. Where memory is exhausted it raises
``torch.OutOfMemoryError`` with vmem's text; PyTorch's statistics are answered by vmem.

``with torch.cuda.use_mem_pool(vmem_gpu.torch.pool()):`` has PyTorch's own caching allocator take the segments of a
pool from vmem. Its statistics, its error and its graphs stay PyTorch's. A pool must outlive its tensors. Where
vmem refuses, PyTorch frees its cache, tries again and raises its own error; ``last_refusal()`` says what vmem
said. Reclaimers in Python are not asked: PyTorch holds a lock while it calls.
"""

from __future__ import annotations

import ctypes as _ctypes
import functools as _functools
import typing as _typing
import warnings as _warnings

import torch as _torch

from . import Error, _native, get_library, runtime
from ._native import torch_last_refusal as last_refusal
from ._torch_companion import CompanionError
from ._torch_companion import load as _load_companion

__all__ = [
    "CompanionError",
    "allocator",
    "install",
    "last_refusal",
    "memory_stats",
    "pool",
    "pool_allocator",
    "reset_peak_memory_stats",
]


def _refusal(status: str, text: str) -> Error:
    error = Error(text)
    error.status, error.details = status, "{}"
    return error


class _Allocator(_torch.cuda.memory.CUDAPluggableAllocator):
    """A pluggable allocator of functions that have no names in a library."""

    def __init__(self, allocate: int, free: int) -> None:
        if not hasattr(_torch._C, "_cuda_customAllocator"):
            raise _refusal("VMEM_ERROR_UNSUPPORTED", "this PyTorch was built without CUDA")
        self._allocator = _torch._C._cuda_customAllocator(allocate, free)


def _pooled_streams(device: int) -> set[int]:
    """The handles of a device's pooled streams. PyTorch hands out those of a priority in turn; it has 32 for each of
    four."""
    found: set[int] = set()
    for priority in (0, -1, -2, -3):
        seen = 0
        while seen < 64:
            handle = _torch.cuda.Stream(device=device, priority=priority).cuda_stream
            seen = seen + 1 if handle in found else 0
            found.add(handle)
    return found


@_functools.cache
def _made(companion: bool | None) -> _Allocator:
    holds_lock = _ctypes.cast(_ctypes.pythonapi.PyGILState_Check, _ctypes.c_void_p).value or 0
    hooks = _native.torch_hooks(holds_lock, _pooled_streams)
    allocate = hooks.pop("allocate")
    try_allocate = hooks.pop("try_allocate")
    if companion is not False:
        try:
            allocate = _load_companion(try_allocate)
        except CompanionError as error:
            if companion:
                raise
            _warnings.warn(
                f"exhausted memory will be a RuntimeError, not torch.OutOfMemoryError: {error}", stacklevel=3
            )
    made = _Allocator(allocate, hooks.pop("free"))
    for setter, address in hooks.items():
        # All are there since PyTorch 2.3.
        getattr(made.allocator(), setter)(address)
    return made


_installed: _Allocator | None = None


def allocator(*, companion: bool | None = None) -> _torch.cuda.memory.CUDAPluggableAllocator:
    """vmem as PyTorch's allocator, with every hook set, for ``torch.cuda.memory.change_current_allocator``.

    ``companion`` is about the library in C++ that throws ``torch.OutOfMemoryError``, compiled when it is first
    needed: None warns where it cannot be had, and exhausted memory is then a ``RuntimeError``; True raises
    ``CompanionError``; False does without.
    """
    return _made(companion)


def install(*, companion: bool | None = None, patch_statistics: bool = True) -> None:
    """Has PyTorch allocate from vmem from now on, on every device. Devices are opened by the environment's
    settings when they are first used, unless they are open.

    It must come before PyTorch has used CUDA; otherwise it raises ``vmem_gpu.Error``. Again, it does nothing.
    ``companion`` is that of ``allocator``. ``patch_statistics`` replaces what PyTorch's statistics ask
    (``torch.cuda.memory_stats``, ``memory_allocated``, ``memory_summary``, ``reset_peak_memory_stats`` and so on),
    which would raise otherwise.
    """
    global _installed
    if _installed is not None:
        return
    made = _made(companion)
    try:
        _torch.cuda.memory.change_current_allocator(made)
    except RuntimeError as error:
        raise _refusal(
            "VMEM_ERROR_UNSUPPORTED",
            "PyTorch has used CUDA already, and keeps its allocator; call vmem_gpu.torch.install() first",
        ) from error
    _installed = made
    if patch_statistics:
        _patch_statistics()


def memory_stats(device: int | None = None) -> dict[str, _typing.Any]:
    """vmem's figures as ``torch.cuda.memory_stats_as_nested_dict`` has them. What vmem does not count is 0."""
    stats = runtime(_torch.cuda.current_device() if device is None else device).stats()

    def all_of(current: int = 0, peak: int = 0, allocated: int = 0) -> dict[str, dict[str, int]]:
        figures = {"current": current, "peak": peak, "allocated": allocated, "freed": allocated - current}
        none = dict.fromkeys(figures, 0)
        return {"all": figures, "small_pool": {**none}, "large_pool": {**none}}

    blocks = (stats.blocks, stats.peak_blocks, stats.total_blocks)
    used = (stats.bytes, stats.peak_bytes, stats.total_bytes)
    reserved, trimmed = stats.reserved or 0, stats.trimmed or 0
    return {
        "num_alloc_retries": 0,
        "num_ooms": stats.failures,
        "num_sync_all_streams": 0,
        "num_device_alloc": 0,
        "num_device_free": 0,
        "max_split_size": -1,
        "allocation": all_of(*blocks),
        "segment": all_of(),
        "active": all_of(*blocks),
        "inactive_split": all_of(),
        "allocated_bytes": all_of(*used),
        "reserved_bytes": all_of(reserved, stats.peak_reserved or reserved, reserved + trimmed),
        "active_bytes": all_of(*used),
        "inactive_split_bytes": all_of(),
        "requested_bytes": all_of(*used),
        "oversize_allocations": all_of()["all"],
        "oversize_segments": all_of()["all"],
    }


def reset_peak_memory_stats(device: int | None = None) -> None:
    """Makes what is in use now the peaks of the statistics."""
    runtime(_torch.cuda.current_device() if device is None else device).reset_peaks()


def _patch_statistics() -> None:
    def accumulated(device: int) -> None:
        raise NotImplementedError("vmem's totals count from the start of the process, and are not reset")

    # What PyTorch's own functions in Python ask, whichever way a program imported those.
    answers: dict[str, _typing.Callable[..., object]] = {
        "_cuda_memoryStats": memory_stats,
        "_cuda_resetPeakMemoryStats": reset_peak_memory_stats,
        "_cuda_resetAccumulatedMemoryStats": accumulated,
        "_accelerator_getDeviceStats": memory_stats,
        "_accelerator_resetPeakStats": reset_peak_memory_stats,
        "_accelerator_resetAccumulatedStats": accumulated,
    }
    for name, answer in answers.items():
        if hasattr(_torch._C, name):
            setattr(_torch._C, name, answer)


@_functools.cache
def pool_allocator() -> _torch.cuda.memory.CUDAPluggableAllocator:
    """vmem as the allocator of a pool alone: what it refuses is a null pointer, which PyTorch without a pool
    takes for memory."""
    return _torch.cuda.memory.CUDAPluggableAllocator(
        get_library(), "vmem_gpu_torch_pool_allocate", "vmem_gpu_torch_pool_free"
    )


def pool(device: int | None = None, **options: _typing.Any) -> _torch.cuda.MemPool:
    """A pool whose segments are vmem's. ``options`` are those of ``torch.cuda.MemPool``: ``use_on_oom`` and
    ``no_split``. The current device, or ``device``, is opened here by the environment's settings, unless it
    is open; others are when the pool is first used on them. Not after ``install()``: PyTorch's pools need its own
    allocator."""
    if _installed is not None:
        raise _refusal(
            "VMEM_ERROR_UNSUPPORTED", "all memory is vmem's after install(), and PyTorch has no pools then"
        )
    runtime(_torch.cuda.current_device() if device is None else device)
    return _torch.cuda.MemPool(pool_allocator().allocator(), **options)
