"""vmem_gpu.numba under numba-cuda, named by NUMBA_CUDA_MEMORY_MANAGER. The program ends with live arrays."""

import gc

import numpy
from checks import MIB, SETTINGS, check, finish, host, raises

if not hasattr(numpy, "row_stack"):  # numba-cuda 0.30 asks for what NumPy 2.5 has no more
    numpy.row_stack = numpy.vstack
cuda = host("numba.cuda")
import vmem_gpu  # noqa: E402
import vmem_gpu.numba  # noqa: E402
from numba.cuda.cudadrv.driver import CudaAPIError  # noqa: E402

gpu = vmem_gpu.open(0, SETTINGS)
with check("the environment's variable installs it") as seen:
    manager = cuda.current_context().memory_manager
    assert isinstance(manager, vmem_gpu.numba.MemoryManager), manager
    seen["numba_cuda"], seen["tier"] = getattr(cuda, "__version__", None), gpu.stats().tier


@cuda.jit
def add(values, more):
    i = cuda.grid(1)
    if i < values.size:
        values[i] += more


with check("arrays are vmem's, hold what was computed, and go back"):
    before = gpu.stats().blocks
    values = cuda.to_device(numpy.arange(MIB, dtype=numpy.float32))
    assert vmem_gpu.find_block(int(values.device_ctypes_pointer.value))[1] == 4 * MIB
    add[MIB // 256, 256](values, 3)
    assert (values.copy_to_host() == numpy.arange(MIB, dtype=numpy.float32) + 3).all()
    del values
    cuda.current_context().deallocations.clear()
    assert gpu.stats().blocks == before

with check("work on another stream that is over before its array goes"):
    stream = cuda.stream()
    for more in range(20):
        values = cuda.to_device(numpy.zeros(MIB, dtype=numpy.float32), stream=stream)
        add[MIB // 256, 256, stream](values, more)
        result = values.copy_to_host(stream=stream)
        stream.synchronize()
        assert (result == more).all()
        del values

with check("what is free and all there is"):
    free, total = cuda.current_context().get_memory_info()
    assert 0 < free <= total == 4096 * MIB

with check("no handles for other processes"):
    raises(NotImplementedError, cuda.device_array(10).get_ipc_handle)

with check("exhaustion is Numba's own error, after which there is memory"):
    raises(CudaAPIError, lambda: [cuda.device_array(512 * MIB, numpy.int8) for _ in range(9)])
    gc.collect()
    cuda.current_context().deallocations.clear()
    array = cuda.device_array(2048 * MIB, numpy.int8)
    del array

live = [cuda.device_array(1000) for _ in range(100)]
finish()
