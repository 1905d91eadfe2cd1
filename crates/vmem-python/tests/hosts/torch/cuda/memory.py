import ctypes

from .. import _C


class OutOfMemoryError(RuntimeError):
    pass


class _Allocator:
    def __init__(self, alloc, free):
        self.alloc, self.free = alloc, free


class CUDAPluggableAllocator:
    def __init__(self, path_to_so_file, alloc_fn_name, free_fn_name):
        library = ctypes.CDLL(path_to_so_file)
        alloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)
        free = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p)
        self._allocator = _Allocator(
            alloc((alloc_fn_name, library)),
            free((free_fn_name, library)),
        )

    def allocator(self):
        return self._allocator


current = None
is_initialized = False


def change_current_allocator(allocator):
    global current
    if is_initialized:
        raise RuntimeError("Can't swap an already initialized allocator")
    current = allocator.allocator()


def empty_cache():
    current.empty_cache()


def memory_stats(device=None):
    return _C._cuda_memoryStats(0 if device is None else device)


def reset_peak_memory_stats(device=None):
    _C._cuda_resetPeakMemoryStats(0 if device is None else device)
