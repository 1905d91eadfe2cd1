import abc
import collections
import enum
import types
import weakref


class CUresult(enum.IntEnum):
    CUDA_ERROR_OUT_OF_MEMORY = 2


class CUdeviceptr(int):
    pass


binding = types.SimpleNamespace(CUresult=CUresult, CUdeviceptr=CUdeviceptr)
driver = types.SimpleNamespace(cuMemGetInfo=lambda: (900 << 20, 1000 << 20))
MemoryInfo = collections.namedtuple("MemoryInfo", "free,total")
_memory_manager = None


class CudaAPIError(Exception):
    def __init__(self, code, msg):
        self.code, self.msg = code, msg
        super().__init__(code, msg)


class UniqueDict(dict):
    def __setitem__(self, key, value):
        if key in self:
            raise AssertionError(f"key already in dictionary: {key!r}")
        super().__setitem__(key, value)


class PendingDeallocs:
    def __init__(self):
        self.cleared = 0

    def clear(self):
        self.cleared += 1


class BaseCUDAMemoryManager(metaclass=abc.ABCMeta):
    def __init__(self, *args, **kwargs):
        if "context" not in kwargs:
            raise RuntimeError("Memory manager requires a context")
        self.context = kwargs.pop("context")

    @abc.abstractmethod
    def memalloc(self, size): ...

    @abc.abstractmethod
    def initialize(self): ...

    @abc.abstractmethod
    def get_ipc_handle(self, memory): ...

    @abc.abstractmethod
    def get_memory_info(self): ...

    @property
    @abc.abstractmethod
    def interface_version(self): ...


class HostOnlyCUDAMemoryManager(BaseCUDAMemoryManager):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.allocations = UniqueDict()
        self.deallocations = PendingDeallocs()

    def _attempt_allocation(self, allocator):
        try:
            return allocator()
        except CudaAPIError as e:
            if e.code == CUresult.CUDA_ERROR_OUT_OF_MEMORY:
                self.deallocations.clear()
                return allocator()
            raise

    def reset(self):
        self.allocations.clear()
        self.deallocations.clear()


class MemoryPointer:
    def __init__(self, context, pointer, size, owner=None, finalizer=None):
        assert isinstance(pointer, CUdeviceptr)
        self.context, self.device_pointer, self.size = context, pointer, size
        if finalizer is not None:
            self._finalizer = weakref.finalize(self, finalizer)


class Context:
    def __init__(self, device):
        self.device = types.SimpleNamespace(id=device)
        self.memory_manager = _memory_manager(context=self)
        self.memory_manager.initialize()


def set_memory_manager(mm_plugin):
    global _memory_manager
    dummy = mm_plugin(context=None)
    if dummy.interface_version != 1:
        raise RuntimeError("EMM Plugin interface has another version")
    _memory_manager = mm_plugin
