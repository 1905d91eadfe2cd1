import ctypes


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
