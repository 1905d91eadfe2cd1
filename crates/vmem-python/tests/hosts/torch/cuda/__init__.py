from . import memory
from .memory import empty_cache, memory_stats, reset_peak_memory_stats

__all__ = ["MemPool", "Stream", "current_device", "empty_cache", "memory", "memory_stats", "reset_peak_memory_stats"]

# The handles of pooled streams, which a test makes.
pooled = []
_drawn = 0


def current_device():
    return 0


class Stream:
    """One of the pool, in turn."""

    def __init__(self, device=None, priority=0):
        global _drawn
        if not pooled:
            raise RuntimeError("the test made no streams")
        self.cuda_stream = pooled[_drawn % len(pooled)]
        _drawn += 1


class MemPool:
    """Asks for segments as PyTorch's caching allocator does, without the interpreter's lock: once more after it
    freed its cache where it gets a null pointer."""

    def __init__(self, allocator=None, use_on_oom=False, no_split=False):
        self.allocator, self.use_on_oom, self.no_split = allocator, use_on_oom, no_split
        self.attempts = 0

    def segment(self, size, stream=None):
        for _ in range(2):
            self.attempts += 1
            ptr = self.allocator.alloc(size, 0, stream)
            if ptr:
                return ptr
        raise memory.OutOfMemoryError("CUDA out of memory.")

    def release(self, ptr, size, stream=None):
        self.allocator.free(ptr, size, 0, stream)
