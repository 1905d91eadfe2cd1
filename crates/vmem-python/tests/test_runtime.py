"""Devices, blocks, labels, reclaimers: the package without a host."""

import gc
import json
import threading

import pytest
import vmem_gpu
from conftest import MIB


class Stream:
    def __init__(self, handle):
        self.handle = handle

    def __cuda_stream__(self):
        return (0, self.handle)


def test_a_block_is_freed_with_its_owner(gpu):
    block = gpu.allocate(1000, tag="table", alignment=4096)
    assert block.ptr % 4096 == 0 and block.size == 1000
    assert gpu.tag_usage("table").bytes == 1000
    assert vmem_gpu.find_block(block.ptr + 999) == (block.ptr, 1000, 0, 1)
    assert block.__cuda_array_interface__["data"] == (block.ptr, False)
    del block
    assert gpu.stats().bytes == 0 and gpu.stats().peak_bytes == 1000


def test_a_block_is_freed_once(gpu):
    block = gpu.allocate(1000)
    block.free()
    block.free()
    with pytest.raises(ValueError, match="was freed"):
        block.ptr
    with pytest.raises(ValueError, match="was freed"):
        block.record_use(0)
    assert "freed" in repr(block)


def test_no_bytes_are_a_null_pointer(gpu):
    block = gpu.allocate(0)
    assert block.ptr == 0
    block.free()
    assert gpu.allocate_address(0) == 0
    vmem_gpu.free(0)


def test_what_is_refused_says_its_status(gpu):
    with pytest.raises(vmem_gpu.OutOfMemoryError) as refused:
        gpu.allocate(65 * MIB, tag="big")
    assert isinstance(refused.value, MemoryError)
    assert refused.value.status in ("VMEM_ERROR_LIMIT", "VMEM_ERROR_NEVER_FITS")
    assert json.loads(refused.value.details)["request"]["tag"] == "big"
    with pytest.raises(vmem_gpu.Error) as refused:
        vmem_gpu.free(12345)
    assert refused.value.status == "VMEM_ERROR_NOT_A_BLOCK"
    with pytest.raises(vmem_gpu.Error) as refused:
        vmem_gpu.open(0)
    assert refused.value.status == "VMEM_ERROR_ALREADY_OPEN"
    with pytest.raises(vmem_gpu.Error, match="alignment"):
        gpu.allocate(1, alignment=3)
    with pytest.raises(OverflowError):
        gpu.allocate(-1)
    with pytest.raises(vmem_gpu.OutOfMemoryError):
        gpu.allocate(1 << 63)
    with pytest.raises(TypeError, match="is no stream"):
        gpu.allocate(1, stream="legacy")
    with pytest.raises(ValueError, match="footprint"):
        vmem_gpu.open(0, footprint="small")


def test_after_close_blocks_can_be_freed_and_none_allocated(driver):
    gpu = vmem_gpu.open(0, "")
    block = gpu.allocate(1000)
    gpu.close()
    with pytest.raises(vmem_gpu.Error) as refused:
        gpu.allocate(1000)
    assert refused.value.status == "VMEM_ERROR_NOT_OPEN"
    block.free()


def test_a_double_free_is_refused(gpu):
    address = gpu.allocate_address(1000)
    vmem_gpu.free(address)
    with pytest.raises(vmem_gpu.Error) as refused:
        vmem_gpu.free(address)
    assert refused.value.status == "VMEM_ERROR_NOT_A_BLOCK"


def test_a_free_on_a_dead_stream_serves_it_and_others_after_synchronize(gpu, driver):
    handle = driver.create_stream()
    address = gpu.allocate_address(1000, stream=handle)
    driver.destroy_stream(handle)
    vmem_gpu.free(address, handle)
    gpu.synchronize()
    assert gpu.stats().quarantined in (0, None)


def test_an_owner_may_name_its_own_dead_stream(gpu, driver):
    handle = driver.create_stream()
    block = gpu.allocate(1000, stream=handle)
    driver.destroy_stream(handle)
    block.free(stream=handle)


def test_a_block_keeps_its_stream_alive(gpu, driver):
    import weakref

    stream = Stream(driver.create_stream())
    handle, alive = stream.handle, weakref.ref(stream)
    block = gpu.allocate(1000, stream=stream)
    del stream
    gc.collect()
    assert alive() is not None and block.stream == handle
    del block
    assert alive() is None
    gpu.forget_stream(handle)
    driver.destroy_stream(handle)


def test_a_use_on_another_stream_can_be_recorded(gpu, driver):
    other = driver.create_stream()
    block = gpu.allocate(1000)
    block.record_use(other)
    vmem_gpu.record_use(block.ptr, other)
    block.free(stream=other)
    gpu.hold_stream(other)
    gpu.forget_stream(other)
    driver.destroy_stream(other)


def test_labels_nest_and_name_the_line(gpu):
    with vmem_gpu.label("outer"):
        first = gpu.allocate(1)
        with vmem_gpu.label("inner", line=True) as inner, vmem_gpu.label():
            pass
        with inner:
            second = gpu.allocate(2)
            named = gpu.allocate(4, tag="named")
        third = gpu.allocate(8)
    assert inner.tag.startswith("inner (test_runtime.py:")
    assert gpu.tag_usage("outer").bytes == 9
    assert gpu.tag_usage(inner.tag).bytes == 2
    assert gpu.tag_usage("named").bytes == 4
    del first, second, third, named


def test_a_reclaimer_frees_what_a_request_lacks(gpu):
    cache = [gpu.allocate(8 * MIB) for _ in range(8)]
    asked = []

    @gpu.reclaimer
    def drop(wanted):
        asked.append(wanted)
        freed = sum(block.size for block in cache)
        cache.clear()
        return freed

    block = gpu.allocate(16 * MIB)
    assert asked and not cache
    del block
    assert gpu.remove_reclaimer(drop) and not gpu.remove_reclaimer(drop)


def test_a_reclaimer_that_raises_is_reported_and_the_request_refused(gpu, monkeypatch):
    import sys

    told = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: told.append(str(what.exc_value)))

    @gpu.reclaimer
    def broken(wanted):
        raise KeyError("broken")

    cache = [gpu.allocate(32 * MIB)]
    with pytest.raises(vmem_gpu.OutOfMemoryError):
        gpu.allocate(48 * MIB)
    assert told and "broken" in told[0]
    cache.clear()


def test_a_reclaimer_needs_recovery(driver):
    with vmem_gpu.open(0, "") as gpu, pytest.raises(vmem_gpu.Error, match="VMEM_OOM_SAFETY"):
        gpu.reclaimer(lambda wanted: 0)


def test_while_a_reclaimer_waits_for_another_thread_that_thread_can_allocate_and_free(gpu):
    kept = [gpu.allocate(40 * MIB)]
    done = []

    def work():
        # Frees what the reclaimer is waiting for, and allocates besides.
        small = gpu.allocate(1000)
        kept.clear()
        del small
        done.append(True)

    @gpu.reclaimer
    def wait(wanted):
        if done:
            return 0
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        return 40 * MIB

    block = gpu.allocate(48 * MIB)
    assert done
    del block


def test_statistics_trim_and_snapshot(gpu):
    block = gpu.allocate(4 * MIB, tag="table")
    stats = gpu.stats()
    assert (stats.bytes, stats.blocks, stats.limit) == (4 * MIB, 1, 64 * MIB)
    assert stats.reserved >= 4 * MIB and stats.tier == "B" and "bytes=4194304" in repr(stats)
    assert isinstance(gpu.snapshot(), dict)
    assert "table" in json.dumps(gpu.snapshot())
    block.free()
    assert gpu.trim(wait=True) > 0
    assert gpu.trim() == 0
    gpu.reset_peaks()
    assert gpu.stats().peak_bytes == 0


def test_memory_sleeps_on_the_host_and_wakes_with_what_it_held(gpu):
    weights = gpu.allocate(12 * MIB, tag="weights")
    cache = gpu.allocate(8 * MIB, tag="cache")
    gpu.fill_host_reserve(12 * MIB)
    assert gpu.sleep("weights") == 12 * MIB
    assert gpu.stats().reserved == 8 * MIB
    assert gpu.sleep("cache", keep=False) == 8 * MIB
    assert gpu.stats().reserved == 0
    other = gpu.allocate(60 * MIB)
    with pytest.raises(vmem_gpu.OutOfMemoryError):
        gpu.wake()
    assert gpu.stats().reserved == 60 * MIB, "all of it or none"
    other.free()
    assert gpu.wake("weights") == 12 * MIB
    assert gpu.wake(wait=False) == 8 * MIB
    gpu.sleep()
    weights.free()
    cache.free()
    gpu.fill_host_reserve(0)
    assert gpu.stats().bytes == 0


def test_a_recording_has_what_was_allocated_and_freed(gpu, tmp_path):
    path = tmp_path / "program.trace"
    with gpu.record(path) as recording:
        gpu.allocate(1000).free()
        assert recording.events is None
    assert recording.events >= 2 and recording.stop() == recording.events
    assert path.stat().st_size > 0
    with pytest.raises(vmem_gpu.Error) as refused:
        gpu.record(tmp_path / "no" / "such" / "folder")
    assert refused.value.status == "VMEM_ERROR_IO"


def test_threads_allocate_and_free_each_others_blocks(gpu):
    failures = []

    def work():
        try:
            for number in range(200):
                blocks = [gpu.allocate(1 + number * 100, stream=2) for _ in range(3)]
                handed.extend(blocks)
                if len(handed) > 10:
                    handed.pop(0).free()
        except Exception as failure:
            failures.append(failure)

    handed = []
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    handed.clear()


def test_a_runtime_is_that_of_its_device(gpu):
    assert vmem_gpu.runtime(0) == gpu and gpu.device == 0
    assert hash(vmem_gpu.runtime(0)) == hash(gpu)


def test_a_free_leaves_the_exception_that_is_on_its_way(gpu):
    def fail():
        block = gpu.allocate(1000)
        raise LookupError(block.size)

    with pytest.raises(LookupError, match="1000"):
        fail()
    gc.collect()
