"""``vmem_gpu.cupy`` over a stand-in for CuPy 14.2."""

import gc

import pytest
import vmem_gpu
from conftest import MIB


@pytest.fixture
def cupy(host, gpu):
    cupy, adaptor = host("cupy", "cupy")
    assert adaptor.install() == gpu
    yield cupy
    cupy.cuda.set_allocator(None)


def test_arrays_are_vmems_and_go_back_with_their_memory(cupy, gpu):
    memory = cupy.cuda.alloc(1000)
    assert memory.device_id == 0
    assert vmem_gpu.find_block(memory.ptr)[:3] == (memory.ptr, 1000, 0)
    with vmem_gpu.label("join"):
        other = cupy.cuda.alloc(10)
    assert gpu.tag_usage("join").bytes == 10
    del memory, other
    assert gpu.stats().blocks == 0


def test_no_bytes_need_no_block(cupy, gpu):
    memory = cupy.cuda.alloc(0)
    assert memory.ptr == 0 and memory.device_id == 0
    assert gpu.stats().total_blocks == 0


def test_exhaustion_is_cupys_own_error_caused_by_vmems(cupy, gpu):
    with pytest.raises(cupy.cuda.memory.OutOfMemoryError, match="limit set to: 67,108,864") as raised:
        cupy.cuda.alloc(65 * MIB)
    assert isinstance(raised.value.__cause__, vmem_gpu.OutOfMemoryError)
    # A traceback has no part in the memory.
    del raised


def test_a_block_is_of_the_current_stream_and_keeps_it_alive(cupy, gpu, driver):
    destroyed = []

    def destroy(handle):
        destroyed.append(handle)
        driver.destroy_stream(handle)

    stream = cupy.cuda.Stream(driver.create_stream(), destroy)
    handle = stream.ptr
    with stream:
        memory = cupy.cuda.alloc(1000)
    assert vmem_gpu.find_block(memory.ptr)[3] == handle
    del stream
    gc.collect()
    assert not destroyed
    del memory
    assert destroyed == [handle] and gpu.stats().blocks == 0


def test_others_have_what_was_freed_on_a_stream_that_cupy_destroyed(cupy, gpu, driver):
    for _ in range(3):
        stream = cupy.cuda.Stream(driver.create_stream(), driver.destroy_stream)
        with stream:
            memory = cupy.cuda.alloc(40 * MIB)
            assert driver.write(memory.ptr, 40 * MIB, stream.ptr) == 0
        del memory
        # The device has 64 MiB, and the handle may be the next one's too.
        del stream
    memory = cupy.cuda.alloc(40 * MIB)
    del memory


def test_a_stream_with_another_owner_is_not_held(cupy, gpu, driver):
    handle = driver.create_stream()
    stream = cupy.cuda.Stream(handle, owner=object())
    with stream:
        memory = cupy.cuda.alloc(1000)
    # The owner does not ask.
    driver.destroy_stream(handle)
    del memory, stream
    assert gpu.stats().blocks == 0


def test_a_stream_class_with_an_end_of_its_own_is_not_held(cupy, gpu, driver):
    class Own(cupy.cuda.Stream):
        def __del__(self):
            driver.destroy_stream(self.ptr)

    stream = Own(driver.create_stream())
    with stream:
        memory = cupy.cuda.alloc(1000)
    del memory, stream
    assert gpu.stats().blocks == 0


def test_a_stream_that_captures_is_not_destroyed_while_it_is_held(cupy, gpu, driver):
    destroyed = []
    stream = cupy.cuda.Stream(driver.create_stream(), destroyed.append)
    handle = stream.ptr
    with stream:
        memory = cupy.cuda.alloc(1000)
    driver.begin_capture(handle)
    del memory, stream
    assert not destroyed
    driver.end_capture(handle)
    gpu.forget_stream(handle)
    driver.destroy_stream(handle)


def test_the_stream_that_is_current_at_the_free_is_waited_for(cupy, gpu, driver):
    own, user = (cupy.cuda.Stream(driver.create_stream(), driver.destroy_stream) for _ in range(2))
    with own:
        memory = cupy.cuda.alloc(MIB)
    assert driver.write(memory.ptr, MIB, own.ptr) == 0
    driver.order(own.ptr, user.ptr)
    assert driver.write(memory.ptr, MIB, user.ptr) == 0
    address = memory.ptr
    with user:
        del memory
    with own:
        memory = cupy.cuda.alloc(MIB)
    # The same memory, so that only an order keeps the two writes apart: the driver looks.
    assert memory.ptr == address
    assert driver.write(memory.ptr, MIB, own.ptr) == 0
    assert driver.control("violations") == ""
    del memory


def test_a_free_survives_a_current_stream_that_cannot_be_had(cupy, gpu, monkeypatch):
    import sys

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))

    def current_stream(device):
        raise RuntimeError("no context")

    block = vmem_gpu.Allocation(1000, current_stream=current_stream)
    del block
    assert told == ["no context"] and gpu.stats().blocks == 0


def test_the_threads_default_stream_stays_the_threads(cupy, gpu):
    with cupy.cuda.Stream.ptds:
        memory = cupy.cuda.alloc(1000)
        assert vmem_gpu.find_block(memory.ptr)[3] == 2
        del memory
    assert gpu.stats().blocks == 0
