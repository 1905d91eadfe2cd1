class Stream:
    def __init__(self, handle):
        self._handle = handle

    def __cuda_stream__(self):
        return (0, self._handle)


class MemoryResource:
    """What a subclass has to implement."""

    def allocate(self, size, *, stream):
        raise TypeError("MemoryResource.allocate must be implemented by subclasses.")

    def deallocate(self, ptr, size, *, stream):
        raise TypeError("MemoryResource.deallocate must be implemented by subclasses.")

    is_device_accessible = is_host_accessible = is_managed = device_id = property(
        lambda self: (_ for _ in ()).throw(TypeError("must be implemented by subclasses"))
    )


class Buffer:
    def __init__(self, ptr, size, mr, stream):
        self.handle, self.size, self.memory_resource, self._stream = ptr, size, mr, stream

    @staticmethod
    def from_handle(ptr, size, mr=None, owner=None, *, stream=None):
        assert mr is None or owner is None
        if not isinstance(stream, Stream):
            raise TypeError("stream expected")
        return Buffer(ptr, size, mr, stream)

    def close(self, stream=None):
        if self.memory_resource is not None:
            mr, self.memory_resource = self.memory_resource, None
            mr.deallocate(self.handle, self.size, stream=stream or self._stream)

    __del__ = close
