"""``vmem_gpu.numba`` over a stand-in for numba-cuda 0.30.4."""

import gc

import pytest
import vmem_gpu
from conftest import MIB


@pytest.fixture
def context(host, gpu):
    _, adaptor = host("numba.cuda", "numba")
    from numba.cuda.cudadrv import driver

    assert adaptor._numba_memory_manager is adaptor.MemoryManager
    adaptor.install()
    return driver.Context(0)


def test_a_pointer_owns_its_block(context, gpu):
    manager = context.memory_manager
    manager.initialize()
    first, second, none = manager.memalloc(1000), manager.memalloc(1000), [manager.memalloc(0) for _ in range(2)]
    assert vmem_gpu.find_block(int(first.device_pointer))[1] == 1000
    del first, none
    gc.collect()
    assert gpu.stats().blocks == 1
    del second
    assert gpu.stats().blocks == 0 and not manager.allocations


def test_a_context_that_numba_met_has_the_drivers_own_device(context, gpu):
    class CUdevice:
        def __int__(self):
            return 0

    context.device = CUdevice()
    context.memory_manager.initialize()
    pointer = context.memory_manager.memalloc(1000)
    assert vmem_gpu.find_block(int(pointer.device_pointer))[1] == 1000
    del pointer


def test_after_reset_finalizers_find_nothing_to_do(context, gpu):
    manager = context.memory_manager
    pointer = manager.memalloc(1000)
    manager.reset()
    assert gpu.stats().blocks == 0
    del pointer


def test_exhaustion_is_numbas_own_error_after_its_pending_frees(context, gpu):
    from numba.cuda.cudadrv import driver

    manager = context.memory_manager
    with pytest.raises(driver.CudaAPIError) as raised:
        manager.memalloc(65 * MIB)
    assert raised.value.code == driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    assert isinstance(raised.value.__cause__, vmem_gpu.OutOfMemoryError)
    assert manager.deallocations.cleared == 1


def test_the_memory_info_heeds_the_limit(context, gpu):
    manager = context.memory_manager
    pointer = manager.memalloc(4 * MIB)
    assert manager.get_memory_info() == (60 * MIB, 64 * MIB)
    del pointer


def test_handles_for_other_processes_are_refused_with_the_reason(context):
    with pytest.raises(NotImplementedError, match="no CUDA IPC handles"):
        context.memory_manager.get_ipc_handle(None)
