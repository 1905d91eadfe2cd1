"""What a trace can be replayed through from Python, each behind the same few methods.

A stack's streams are raw handles, and its blocks whatever it likes to remember them by. Most peers
take a block back on the stream it was allocated on (`FREES_AT_HOME`); the replay then first puts
that stream after the one that the program frees on.
"""

import importlib
import os
from ctypes import byref, c_uint64

from .driver import OUT_OF_MEMORY


class Skipped(Exception):
    """Why a peer cannot run here."""


class OutOfMemory(Exception):
    """A request that was refused."""


class Stack:
    """One allocator on one device."""

    NEEDS_DRIVER = True
    FREES_AT_HOME = True
    # Set for the process before it imports anything.
    ENVIRONMENT = {}

    def __init__(self, driver, limit):
        """`limit` is the most that it should hold, in bytes."""
        self.driver = driver

    def stream(self):
        return self.driver.stream()

    def version(self):
        """What runs, in a few words."""
        raise NotImplementedError

    def allocate(self, size, stream):
        raise NotImplementedError

    def free(self, block, size, stream):
        raise NotImplementedError

    def address(self, block):
        return block

    def peak_reserved(self):
        """The most bytes it held of the device, in its own account; None if it keeps none."""
        return None

    def driver_calls(self):
        """Calls made so far, if that is known."""
        return None


class Nothing(Stack):
    """No allocator: what the replay itself takes."""

    NEEDS_DRIVER = False
    FREES_AT_HOME = False

    def version(self):
        return "no allocator: the time that this script takes itself"

    def stream(self):
        return 0

    def allocate(self, size, stream):
        return 0

    def free(self, block, size, stream):
        pass


class Counted(Stack):
    """A stack that makes driver calls itself and counts them."""

    FREES_AT_HOME = False

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self.calls = 0
        self._out = c_uint64()

    def driver_calls(self):
        return self.calls

    def _allocate(self, name, function, *arguments):
        self.calls += 1
        code = function(byref(self._out), *arguments)
        if code == OUT_OF_MEMORY:
            raise OutOfMemory(name)
        self.driver.check(name, code)
        return self._out.value


class Plain(Counted):
    """One driver call for every block allocated, one to wait and one to free."""

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self._take = driver.function("cuMemAlloc_v2")
        self._wait = driver.function("cuStreamSynchronize")
        self._give_back = driver.function("cuMemFree_v2")

    def version(self):
        return "cuMemAlloc, cuStreamSynchronize and cuMemFree"

    def allocate(self, size, stream):
        return self._allocate("cuMemAlloc", self._take, size)

    def free(self, block, size, stream):
        self.calls += 2
        self.driver.check("cuStreamSynchronize", self._wait(stream))
        self.driver.check("cuMemFree", self._give_back(block))


class Async(Counted):
    """The driver's own stream-ordered pool, told to keep what is freed."""

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self._pool = driver.keep_freed_memory()
        self._take = driver.function("cuMemAllocAsync")
        self._give_back = driver.function("cuMemFreeAsync")

    def version(self):
        return "cuMemAllocAsync and cuMemFreeAsync, nothing released before the end"

    def allocate(self, size, stream):
        return self._allocate("cuMemAllocAsync", self._take, size, stream)

    def free(self, block, size, stream):
        self.calls += 1
        self.driver.check("cuMemFreeAsync", self._give_back(block, stream))

    def peak_reserved(self):
        return self.driver.pool_peak(self._pool)


class CuPy(Stack):
    """CuPy's memory pool."""

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self.cupy = _import("cupy")
        self.cupy.cuda.Device(driver.device).use()
        self.pool = self.cupy.cuda.MemoryPool()
        self.pool.set_limit(size=limit)
        self.streams = {}
        self.current = None

    def version(self):
        return f"CuPy {self.cupy.__version__}, cupy.cuda.MemoryPool"

    def stream(self):
        stream = self.cupy.cuda.Stream(non_blocking=True)
        self.streams[stream.ptr] = stream
        return stream.ptr

    def allocate(self, size, stream):
        if stream != self.current:
            self.streams[stream].use()
            self.current = stream
        try:
            return self.pool.malloc(size)
        except self.cupy.cuda.memory.OutOfMemoryError as error:
            raise OutOfMemory(str(error)) from error

    def free(self, block, size, stream):
        block.mem.free()

    def address(self, block):
        return block.ptr

    def peak_reserved(self):
        # The pool returns nothing unless it is asked to.
        return self.pool.total_bytes()


class Torch(Stack):
    """PyTorch's caching allocator."""

    SETTINGS = ""

    def __init_subclass__(cls):
        # The second name is the older one.
        names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
        cls.ENVIRONMENT = dict.fromkeys(names, cls.SETTINGS)

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        torch = self.torch = _import("torch")
        if not torch.cuda.is_available():
            raise Skipped(f"PyTorch {torch.__version__} sees no device")
        torch.cuda.set_device(driver.device)
        torch.cuda.init()
        _, total = driver.memory()
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
        self.streams = []

    def version(self):
        settings = os.environ.get("PYTORCH_ALLOC_CONF") or "default settings"
        backend = self.torch.cuda.get_allocator_backend()
        return f"PyTorch {self.torch.__version__}, backend {backend}, {settings}"

    def stream(self):
        self.streams.append(self.torch.cuda.Stream())
        return self.streams[-1].cuda_stream

    def allocate(self, size, stream):
        try:
            return self.torch.cuda.caching_allocator_alloc(size, self.driver.device, stream)
        except self.torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(str(error).splitlines()[0]) from error

    def free(self, block, size, stream):
        self.torch.cuda.caching_allocator_delete(block)

    def peak_reserved(self):
        return self.torch.cuda.max_memory_reserved()


class TorchNative(Torch):
    """Segments from cudaMalloc, the default."""

    SETTINGS = "expandable_segments:False"


class TorchExpandable(Torch):
    """Segments that grow, by virtual memory management."""

    SETTINGS = "expandable_segments:True"


class Rmm(Stack):
    """RMM's pool, which starts with nothing and grows."""

    FREES_AT_HOME = False

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self.rmm = _import("rmm")
        _import("rmm.pylibrmm.stream")
        self.upstream = self.rmm.mr.StatisticsResourceAdaptor(self.rmm.mr.CudaMemoryResource())
        # Under a maximum it would grow by other rules, so `limit` is left to the replay.
        self.pool = self.rmm.mr.PoolMemoryResource(self.upstream, initial_pool_size=0)
        self.streams = {}

    def version(self):
        return f"RMM {self.rmm.__version__}, PoolMemoryResource from 0 bytes"

    def stream(self):
        stream = self.rmm.pylibrmm.stream.Stream()
        if not hasattr(stream, "__cuda_stream__"):
            raise Skipped(f"RMM {self.rmm.__version__} does not tell a stream's handle")
        handle = stream.__cuda_stream__()[1]
        self.streams[handle] = stream
        return handle

    def allocate(self, size, stream):
        try:
            return self.pool.allocate(size, self.streams[stream])
        except MemoryError as error:
            raise OutOfMemory(str(error)) from error

    def free(self, block, size, stream):
        self.pool.deallocate(block, size, self.streams[stream])

    def peak_reserved(self):
        counts = self.upstream.allocation_counts
        return counts["peak_bytes"] if isinstance(counts, dict) else counts.peak_bytes


class Vmem(Stack):
    """vmem, through its Python package; blocks are plain addresses, as those of the others are."""

    FREES_AT_HOME = False
    FOOTPRINT = "tight"

    def __init__(self, driver, limit):
        super().__init__(driver, limit)
        self.vmem = _import("vmem_gpu")
        settings = f"VMEM_POOL_LIMIT={limit} VMEM_MEMORY_RESERVE_BYTES=0"
        device = driver.device
        self.runtime = self.vmem.open(device, settings, fallback=False, footprint=self.FOOTPRINT)
        self._take, self._give_back = self.runtime.allocate_address, self.vmem.free

    def version(self):
        tier = self.runtime.stats().tier
        return f"vmem {self.vmem.__version__}, tier {tier}, {self.FOOTPRINT} footprint"

    def stream(self):
        stream = self.driver.stream()
        # What was freed on it then serves others as soon as it is complete.
        self.runtime.hold_stream(stream)
        return stream

    def allocate(self, size, stream):
        try:
            return self._take(size, stream=stream)
        except self.vmem.OutOfMemoryError as error:
            raise OutOfMemory(str(error)) from error

    def free(self, block, size, stream):
        self._give_back(block, stream)

    def peak_reserved(self):
        return self.runtime.stats().peak_reserved


class VmemLazy(Vmem):
    """The same, which moves memory only where no more is to be had."""

    FOOTPRINT = "lazy"


def _import(name):
    """A peer's module, or why it is skipped."""
    try:
        return importlib.import_module(name)
    except Exception as error:  # A broken installation raises anything.
        raise Skipped(f"{name} cannot be imported ({error})") from error


ALL = {
    "nothing": Nothing,
    "driver": Plain,
    "cuda-async": Async,
    "cupy": CuPy,
    "torch": TorchNative,
    "torch-expandable": TorchExpandable,
    "rmm": Rmm,
    "vmem": Vmem,
    "vmem-lazy": VmemLazy,
}
