from . import memory
from .memory import empty_cache, memory_stats, reset_peak_memory_stats

__all__ = ["MemPool", "current_device", "empty_cache", "memory", "memory_stats", "reset_peak_memory_stats"]


def current_device():
    return 0


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
