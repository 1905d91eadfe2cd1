"""The calls that PyTorch makes of a pluggable allocator."""

import ctypes

_GLIBCXX_USE_CXX11_ABI = True

# Set by `build`: calls give the interpreter's lock up, or keep it.
library = library_with_lock = None


class _CUDAPluggableAllocator:
    def __init__(self, allocate, free):
        library.torch_create.restype = ctypes.c_void_p
        self._self = ctypes.c_void_p(library.torch_create(ctypes.c_uint64(allocate), ctypes.c_uint64(free)))
        self.hooks = set()

    def __getattr__(self, name):
        if not name.startswith("set_"):
            raise AttributeError(name)

        def setter(address):
            if library.torch_set(self._self, name.encode(), ctypes.c_uint64(address)) != 0:
                raise AttributeError(name)
            self.hooks.add(name)

        return setter

    def _call(self, name, *arguments, with_lock=False):
        chosen = library_with_lock if with_lock else library
        status = getattr(chosen, name)(self._self, *arguments)
        if status != 0:
            from .cuda.memory import OutOfMemoryError

            library.torch_what.restype = ctypes.c_char_p
            text = library.torch_what().decode()
            raise (OutOfMemoryError if status == 2 else RuntimeError)(text)

    def malloc(self, size, device=0, stream=None, with_lock=False):
        ptr = ctypes.c_void_p()
        arguments = (ctypes.c_size_t(size), device, ctypes.c_void_p(stream), ctypes.byref(ptr))
        self._call("torch_malloc", *arguments, with_lock=with_lock)
        return ptr.value

    def free(self, ptr, size=0, device=0, stream=None, with_lock=False):
        arguments = (ctypes.c_void_p(ptr), ctypes.c_size_t(size), device, ctypes.c_void_p(stream))
        self._call("torch_free", *arguments, with_lock=with_lock)

    def init(self, devices):
        self._call("torch_init", devices)

    def empty_cache(self, with_lock=False):
        self._call("torch_empty_cache", with_lock=with_lock)

    def set_memory_fraction(self, fraction, device):
        self._call("torch_set_memory_fraction", ctypes.c_double(fraction), device)

    def base_alloc(self, ptr):
        size = ctypes.c_size_t()
        library.torch_base_alloc.restype = ctypes.c_void_p
        base = library.torch_base_alloc(self._self, ctypes.c_void_p(ptr), ctypes.byref(size))
        return base, size.value

    def record_stream(self, ptr, stream):
        self._call("torch_record_stream", ctypes.c_void_p(ptr), ctypes.c_void_p(stream))

    def begin_pool(self, device, id):
        self._call("torch_begin_pool", device, ctypes.c_uint64(id))

    def end_pool(self, device, id):
        self._call("torch_end_pool", device, ctypes.c_uint64(id))

    def release_pool(self, device, id):
        self._call("torch_release_pool", device, ctypes.c_uint64(id))


def _cuda_customAllocator(allocate, free):
    return _CUDAPluggableAllocator(allocate, free)


def _not_supported(*_):
    raise RuntimeError("CUDAPluggableAllocator does not yet support that.")


_cuda_memoryStats = _cuda_resetPeakMemoryStats = _cuda_resetAccumulatedMemoryStats = _not_supported
