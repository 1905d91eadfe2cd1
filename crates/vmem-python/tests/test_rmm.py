"""``vmem_gpu.rmm`` over a stand-in for RMM 26.10."""

import sys
import warnings

import pytest
import vmem_gpu
from conftest import MIB


@pytest.fixture
def hosts(host):
    rmm, adaptor = host("rmm", "rmm")
    return rmm, adaptor


def test_memory_is_vmems(hosts, gpu):
    rmm, adaptor = hosts
    resource = adaptor.install()
    assert rmm.mr.get_per_device_resource(0) is resource and resource.runtime == gpu
    ptr = resource.allocate(1000)
    assert vmem_gpu.find_block(ptr)[:2] == (ptr, 1000)
    assert resource.pool_size() == gpu.stats().reserved > 0
    resource.deallocate(ptr, 1000)
    assert resource.allocate(0) == 0
    resource.deallocate(0, 0)


def test_exhaustion_is_exactly_memory_error_so_that_rmm_asks_its_failure_callback(hosts, gpu):
    rmm, adaptor = hosts
    resource = adaptor.MemoryResource()
    kept = [resource.allocate(40 * MIB)]
    asked = []

    def spill(nbytes):
        asked.append(nbytes)
        if not kept:
            return False
        resource.deallocate(kept.pop(), 40 * MIB)
        return True

    adapted = rmm.mr.FailureCallbackResourceAdaptor(resource, spill)
    ptr = adapted.allocate(48 * MIB)
    assert asked == [48 * MIB]
    adapted.deallocate(ptr, 48 * MIB)
    with pytest.raises(rmm.mr.BadAlloc, match="vmem_allocate"):
        adapted.allocate(65 * MIB)


def test_deallocation_never_raises_and_is_reported(hosts, gpu, monkeypatch):
    _, adaptor = hosts
    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(what.exc_value.status))
    adaptor.MemoryResource().deallocate(12345, 10)
    assert told == ["VMEM_ERROR_NOT_A_BLOCK"]


def test_what_one_stream_frees_another_has_behind_its_work_although_the_pool_may_not_grow(hosts, gpu, driver):
    rmm, adaptor = hosts
    resource = adaptor.MemoryResource()
    first, second = (rmm.mr.Stream(driver.create_stream()) for _ in range(2))
    ptr = resource.allocate(64 * MIB, first)
    driver.write(ptr, 64 * MIB, first.__cuda_stream__()[1])
    resource.deallocate(ptr, 64 * MIB, first)
    assert resource.allocate(64 * MIB, second) == ptr
    driver.write(ptr, 64 * MIB, second.__cuda_stream__()[1])
    resource.deallocate(ptr, 64 * MIB, second)


def test_the_maximum_pool_size_is_the_limit_and_other_settings_stay(hosts, driver, monkeypatch):
    _, adaptor = hosts
    monkeypatch.setenv("VMEM_OOM_SAFETY", "1")
    monkeypatch.setenv("VMEM_POOL_LIMIT", "1G")
    with adaptor.install(maximum_pool_size="32 MiB").runtime as gpu:
        assert gpu.stats().limit == 32 * MIB and gpu.stats().tier == "B"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            adaptor.install(maximum_pool_size=32 * MIB)
        with pytest.warns(UserWarning, match="limit of 33554432 B"):
            adaptor.install(maximum_pool_size="1GB")


def test_sizes_are_read_as_rmm_reads_them(hosts):
    _, adaptor = hosts
    read = adaptor._bytes_of
    assert [read(size) for size in (7, "7", "7b", "1.5 KiB", "2kb", "3 GB")] == [7, 7, 7, 1536, 2000, 3 * 10**9]
    for size in ("", "b", "-1", "1 X", "inf", "nan", "1 G"):
        with pytest.raises(ValueError, match="Could not parse"):
            read(size)


def test_a_maximum_of_nothing_is_refused(hosts, gpu):
    _, adaptor = hosts
    with pytest.raises(ValueError, match="above 0"):
        adaptor.install(maximum_pool_size=0)


def test_a_pool_that_is_there_already_is_said(hosts, gpu):
    rmm, adaptor = hosts
    rmm.reinitialize(pool_allocator=True)
    with pytest.warns(UserWarning, match="was a PoolMemoryResource"):
        adaptor.install()


def test_reinitialize_makes_vmems_resources_and_runs_the_hooks(hosts, gpu):
    rmm, adaptor = hosts
    adaptor.install()
    ran = []
    rmm.register_reinitialize_hook(ran.append, "hook")
    with pytest.warns(UserWarning, match="changes nothing"):
        rmm.reinitialize(pool_allocator=True, initial_pool_size="1 MiB", maximum_pool_size="1 GiB")
    assert ran == ["hook"]
    assert isinstance(rmm.mr.get_per_device_resource(0), adaptor.MemoryResource)
    rmm.reinitialize(logging=True, log_file_name="log.csv")
    logging = rmm.mr.get_per_device_resource(0)
    assert logging.log_file_name == "log.csv" and isinstance(logging.upstream_mr, adaptor.MemoryResource)
    with pytest.warns(UserWarning, match="vmem is not used"):
        rmm.reinitialize(managed_memory=True)
    assert isinstance(rmm.mr.get_per_device_resource(0), rmm.mr.ManagedMemoryResource)
