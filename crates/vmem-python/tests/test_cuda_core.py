"""``vmem_gpu.cuda_core`` over a stand-in for cuda.core 1.2.2."""

import pytest
import vmem_gpu
from conftest import MIB


@pytest.fixture
def hosts(host, gpu):
    return host("cuda.core", "cuda_core")


def test_a_buffer_owns_its_block(hosts, gpu):
    core, adaptor = hosts
    resource = adaptor.MemoryResource(0)
    buffer = resource.allocate(1000, stream=core.Stream(1))
    assert vmem_gpu.find_block(buffer.handle)[1] == 1000
    assert (resource.is_device_accessible, resource.is_host_accessible, resource.is_managed) == (True, False, False)
    assert resource.device_id == 0 and resource.runtime == gpu
    del buffer
    assert gpu.stats().blocks == 0
    resource.allocate(0, stream=core.Stream(1)).close()


def test_a_buffer_is_freed_on_the_stream_that_it_is_closed_on_and_on_its_own_if_that_is_gone(hosts, gpu, driver):
    core, adaptor = hosts
    resource = adaptor.MemoryResource(0)
    own, other = core.Stream(driver.create_stream()), core.Stream(driver.create_stream())
    first, second = (resource.allocate(1000, stream=own) for _ in range(2))
    first.close(other)
    driver.destroy_stream(own.__cuda_stream__()[1])
    second.close()
    driver.destroy_stream(other.__cuda_stream__()[1])
    assert gpu.stats().blocks == 0


def test_a_buffer_that_cannot_be_made_leaves_no_block(hosts, gpu):
    class NoStream:
        def __cuda_stream__(self):
            return (0, 1)

    _, adaptor = hosts
    with pytest.raises(TypeError):
        adaptor.MemoryResource(0).allocate(1000, stream=NoStream())
    assert gpu.stats().blocks == 0 and gpu.stats().total_blocks == 1


def test_exhaustion_is_a_memory_error(hosts, gpu):
    core, adaptor = hosts
    with pytest.raises(vmem_gpu.OutOfMemoryError):
        adaptor.MemoryResource(0).allocate(65 * MIB, stream=core.Stream(1))
