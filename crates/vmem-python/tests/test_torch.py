"""``vmem_gpu.torch`` over a stand-in for PyTorch's pools, which calls the extension's functions as PyTorch does."""

import threading

import pytest
import vmem_gpu
from conftest import MIB


@pytest.fixture
def hosts(host, gpu):
    return host("torch", "torch")


def test_segments_are_vmems_and_aligned(hosts, gpu):
    _, adaptor = hosts
    pool = adaptor.pool(no_split=True)
    assert pool.no_split and adaptor.pool_allocator() is adaptor.pool_allocator()
    ptr = pool.segment(1000)
    assert ptr % 512 == 0 and vmem_gpu.find_block(ptr)[1] == 1000
    pool.release(ptr, 1000)
    assert gpu.stats().blocks == 0


def test_what_is_refused_is_null_and_said_and_reclaimers_in_python_are_not_asked(hosts, gpu):
    torch, adaptor = hosts
    asked = []
    gpu.reclaimer(asked.append)
    pool = adaptor.pool()
    kept = pool.segment(40 * MIB)
    with pytest.raises(torch.cuda.memory.OutOfMemoryError):
        pool.segment(48 * MIB)
    assert pool.attempts == 3 and not asked
    assert "vmem_allocate" in adaptor.last_refusal() and "not asked" in adaptor.last_refusal()
    pool.release(kept, 40 * MIB)


def test_no_bytes_and_nonsense_are_null(hosts, gpu):
    _, adaptor = hosts
    allocator = adaptor.pool_allocator().allocator()
    assert allocator.alloc(0, 0, None) is None
    assert allocator.alloc(-1, 0, None) is None
    assert allocator.alloc(1, 99, None) is None
    allocator.free(None, 0, 0, None)
    allocator.free(12345, 1, 0, None)


def test_a_segment_can_be_had_in_a_capture(hosts, gpu, driver):
    _, adaptor = hosts
    pool = adaptor.pool()
    stream = driver.create_stream()
    pool.release(pool.segment(20 * MIB, stream), 20 * MIB, stream)
    driver.begin_capture(stream)
    ptr = pool.segment(30 * MIB, stream)
    driver.end_capture(stream)
    assert vmem_gpu.find_block(ptr)[1] == 30 * MIB
    pool.release(ptr, 30 * MIB, stream)
    assert gpu.stats().blocks == 0


def test_other_threads_and_dead_streams_free(hosts, gpu, driver):
    _, adaptor = hosts
    pool = adaptor.pool()
    stream = driver.create_stream()
    ptr = pool.segment(1000, stream)
    driver.destroy_stream(stream)
    thread = threading.Thread(target=pool.release, args=(ptr, 1000, stream))
    thread.start()
    thread.join()
    assert gpu.stats().blocks == 0
