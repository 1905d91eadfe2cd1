"""The CUDA driver, by ctypes: what replays need of it whichever allocator they go through."""

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p

SUCCESS, OUT_OF_MEMORY = 0, 2

# For each function its parameters; all return a CUresult, which is kept a number.
_FUNCTIONS = {
    "cuInit": [c_uint],
    "cuDriverGetVersion": [POINTER(c_int)],
    "cuGetErrorName": [c_int, POINTER(c_char_p)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuCtxSetCurrent": [c_void_p],
    "cuCtxSynchronize": [],
    "cuMemGetInfo_v2": [POINTER(c_size_t), POINTER(c_size_t)],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamSynchronize": [c_void_p],
    "cuStreamWaitEvent": [c_void_p, c_void_p, c_uint],
    "cuEventCreate": [POINTER(c_void_p), c_uint],
    "cuEventRecord": [c_void_p, c_void_p],
    "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemAllocAsync": [POINTER(c_uint64), c_size_t, c_void_p],
    "cuMemFreeAsync": [c_uint64, c_void_p],
    "cuDeviceGetDefaultMemPool": [POINTER(c_void_p), c_int],
    "cuMemPoolSetAttribute": [c_void_p, c_int, c_void_p],
    "cuMemPoolGetAttribute": [c_void_p, c_int, c_void_p],
    "cuMemsetD32Async": [c_uint64, c_uint, c_size_t, c_void_p],
    "cuMemcpyDtoH_v2": [c_void_p, c_uint64, c_size_t],
    "cuModuleLoadData": [POINTER(c_void_p), c_char_p],
    "cuModuleGetFunction": [POINTER(c_void_p), c_void_p, c_char_p],
    "cuLaunchKernel": [c_void_p] + [c_uint] * 7 + [c_void_p, POINTER(c_void_p), c_void_p],
}

_NON_BLOCKING, _NO_TIMING = 1, 2
# CU_MEMPOOL_ATTR_RELEASE_THRESHOLD and CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH.
_RELEASE_THRESHOLD, _RESERVED_HIGH = 4, 6


class NoDriver(Exception):
    """Why there is no device to run on."""


class DriverError(Exception):
    """A call that did not succeed, with the code it returned."""

    def __init__(self, call, code, name):
        super().__init__(f"{call}: {name} ({code})")
        self.code = code


class Driver:
    """One device, its primary context current on the calling thread."""

    def __init__(self, ordinal=0):
        try:
            self.library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise NoDriver(f"no CUDA driver ({error})") from error
        self._bound = {}
        try:
            self.call("cuInit", 0)
            device = c_int()
            self.call("cuDeviceGet", byref(device), ordinal)
        except (DriverError, AttributeError) as error:
            raise NoDriver(f"no CUDA device: {error}") from error
        self.device = device.value
        context = c_void_p()
        self.call("cuDevicePrimaryCtxRetain", byref(context), self.device)
        self.context = context
        self.call("cuCtxSetCurrent", context)
        self._event = c_void_p()
        self.call("cuEventCreate", byref(self._event), _NO_TIMING)

    def function(self, name):
        """A function of the driver, for calls that must be fast: returns its code unchecked."""
        if name not in self._bound:
            function = getattr(self.library, name)
            function.argtypes, function.restype = _FUNCTIONS[name], c_int
            self._bound[name] = function
        return self._bound[name]

    def call(self, name, *arguments):
        self.check(name, self.function(name)(*arguments))

    def check(self, name, code):
        if code != SUCCESS:
            text = c_char_p()
            self.function("cuGetErrorName")(code, byref(text))
            raise DriverError(name, code, text.value.decode() if text.value else "unknown")

    def about(self):
        """What a report says of the device."""
        name, version = ctypes.create_string_buffer(256), c_int()
        self.call("cuDeviceGetName", name, len(name), self.device)
        self.call("cuDriverGetVersion", byref(version))
        free, total = self.memory()
        return {
            "name": name.value.decode(errors="replace"),
            "cuda_version": f"{version.value // 1000}.{version.value % 1000 // 10}",
            "total_bytes": total,
            "free_bytes": free,
        }

    def memory(self):
        """Bytes free on the whole card, and all there are."""
        free, total = c_size_t(), c_size_t()
        self.call("cuMemGetInfo_v2", byref(free), byref(total))
        return free.value, total.value

    def stream(self):
        """A new stream's raw handle. It does not wait for the default stream."""
        stream = c_void_p()
        self.call("cuStreamCreate", byref(stream), _NON_BLOCKING)
        return stream.value

    def order(self, earlier, later):
        """Puts what is queued on `later` from now on after what is on `earlier`."""
        self.call("cuEventRecord", self._event, earlier)
        self.call("cuStreamWaitEvent", later, self._event, 0)

    def synchronize(self):
        self.call("cuCtxSynchronize")

    def keep_freed_memory(self):
        """Makes the device's own pool return nothing by itself; gives the pool."""
        pool, threshold = c_void_p(), c_uint64(2**64 - 1)
        self.call("cuDeviceGetDefaultMemPool", byref(pool), self.device)
        self.call("cuMemPoolSetAttribute", pool, _RELEASE_THRESHOLD, byref(threshold))
        return pool

    def pool_peak(self, pool):
        """The most bytes that a pool of the driver ever held."""
        peak = c_uint64()
        self.call("cuMemPoolGetAttribute", pool, _RESERVED_HIGH, byref(peak))
        return peak.value
