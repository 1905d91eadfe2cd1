import collections


class DeviceMemoryResource:
    pass


class CudaMemoryResource(DeviceMemoryResource):
    pass


class ManagedMemoryResource(DeviceMemoryResource):
    pass


class PoolMemoryResource(DeviceMemoryResource):
    def __init__(self, upstream_mr, initial_pool_size=None, maximum_pool_size=None):
        self.upstream_mr = upstream_mr


class LoggingResourceAdaptor(DeviceMemoryResource):
    def __init__(self, upstream_mr, log_file_name=None):
        self.upstream_mr, self.log_file_name = upstream_mr, log_file_name


class Stream:
    def __init__(self, handle=0):
        self._handle = handle

    def __cuda_stream__(self):
        return (0, self._handle)


class BadAlloc(Exception):
    """C++'s, which MemoryError and nothing else becomes."""


class CallbackMemoryResource(DeviceMemoryResource):
    """Calls its functions as the C++ of the real one does: what an allocation raises is known by its class, and
    a deallocation that raises ends the process."""

    def __init__(self, allocate_func, deallocate_func):
        self._allocate_func, self._deallocate_func = allocate_func, deallocate_func

    def allocate(self, nbytes, stream=None):
        try:
            return self._allocate_func(nbytes, stream or Stream())
        except BaseException as error:
            if type(error) is MemoryError:
                raise BadAlloc(str(error)) from error
            raise AssertionError(f"RMM makes a std::runtime_error of {error!r}") from error

    def deallocate(self, ptr, nbytes, stream=None):
        try:
            self._deallocate_func(ptr, nbytes, stream or Stream())
        except BaseException as error:
            raise SystemExit("the process ends") from error


class FailureCallbackResourceAdaptor(DeviceMemoryResource):
    """Tries again as long as the callback says so, after exhaustion alone."""

    def __init__(self, upstream_mr, callback):
        self.upstream_mr, self._callback = upstream_mr, callback

    def allocate(self, nbytes, stream=None):
        while True:
            try:
                return self.upstream_mr.allocate(nbytes, stream)
            except BadAlloc:
                if not self._callback(nbytes):
                    raise

    def deallocate(self, ptr, nbytes, stream=None):
        self.upstream_mr.deallocate(ptr, nbytes, stream)


_per_device_mrs = collections.defaultdict(CudaMemoryResource)


def get_per_device_resource(device):
    return _per_device_mrs[device]


def set_per_device_resource(device, mr):
    assert isinstance(mr, DeviceMemoryResource)
    _per_device_mrs[device] = mr
