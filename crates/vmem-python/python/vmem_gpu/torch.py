"""PyTorch's memory pools from vmem.

``with torch.cuda.use_mem_pool(vmem_gpu.torch.pool()):`` has PyTorch's caching allocator take its segments from
vmem. Its statistics, its error and its graphs stay PyTorch's. A pool must outlive its tensors. Where vmem
refuses, PyTorch frees its cache, tries again and raises its own error; ``last_refusal()`` says what vmem said.
Reclaimers in Python are not asked: PyTorch holds a lock while it calls.
"""

from __future__ import annotations

import functools as _functools
import typing as _typing

import torch as _torch

from . import get_library, runtime
from ._native import torch_last_refusal as last_refusal

__all__ = ["allocator", "last_refusal", "pool"]


@_functools.cache
def allocator() -> _torch.cuda.memory.CUDAPluggableAllocator:
    """vmem as PyTorch's pluggable allocator, for pools alone: what it refuses is a null pointer, which PyTorch
    without a pool takes for memory."""
    return _torch.cuda.memory.CUDAPluggableAllocator(
        get_library(), "vmem_gpu_torch_pool_allocate", "vmem_gpu_torch_pool_free"
    )


def pool(device: int | None = None, **options: _typing.Any) -> _torch.cuda.MemPool:
    """A pool whose segments are vmem's. ``options`` are those of ``torch.cuda.MemPool``: ``use_on_oom`` and
    ``no_split``. The current device, or ``device``, is opened here by the environment's settings, unless it
    is open; others are when the pool is first used on them."""
    runtime(_torch.cuda.current_device() if device is None else device)
    return _torch.cuda.MemPool(allocator().allocator(), **options)
