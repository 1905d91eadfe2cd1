"""vmem_gpu.rmm under RMM. The program ends with live buffers."""

import gc

from checks import LIMIT, MIB, SETTINGS, check, finish, host, raises

rmm = host("rmm")
import numpy  # noqa: E402
import vmem_gpu  # noqa: E402
import vmem_gpu.rmm  # noqa: E402
from rmm.pylibrmm.stream import Stream  # noqa: E402

gpu = vmem_gpu.open(0, SETTINGS)
with check("installs") as seen:
    resource = vmem_gpu.rmm.install(maximum_pool_size=LIMIT)
    assert rmm.mr.get_current_device_resource() is resource and resource.runtime == gpu
    seen["rmm"], seen["tier"] = rmm.__version__, gpu.stats().tier

with check("buffers are vmem's, keep their bytes, and go back"):
    before = gpu.stats().bytes
    text = numpy.random.default_rng(2).integers(0, 256, 3 * MIB, dtype=numpy.uint8).tobytes()
    buffer = rmm.DeviceBuffer.to_device(text)
    assert vmem_gpu.find_block(buffer.ptr)[:2] == (buffer.ptr, len(text))
    assert buffer.tobytes() == text
    copy = buffer.copy()
    del buffer
    assert copy.tobytes() == text and gpu.stats().bytes == before + len(text)
    del copy
    assert gpu.stats().bytes == before and resource.pool_size() >= 0

with check("buffers of other streams that end") as seen:
    before = gpu.stats().blocks
    for _ in range(50):
        stream = Stream()
        buffer = rmm.DeviceBuffer(size=MIB, stream=stream)
        stream.synchronize()
        del buffer, stream
    seen["stats"] = gpu.stats()
    assert gpu.stats().blocks == before

with check("what another stream copied is not overwritten") as seen:
    one, two = Stream(), Stream()
    copies = []
    for value in range(20):
        source = rmm.DeviceBuffer.to_device(bytes([value]) * (16 * MIB), stream=one)
        one.synchronize()
        copies.append(rmm.DeviceBuffer.to_device(source.tobytes(two), stream=two))
        del source
        rmm.DeviceBuffer.to_device(b"\xff" * (16 * MIB), stream=one)
    for value, copy in enumerate(copies):
        assert copy.tobytes() == bytes([value]) * (16 * MIB)
    del copies, copy

with check("exhaustion is exactly MemoryError, after which there is memory"):
    raises(MemoryError, lambda: [rmm.DeviceBuffer(size=512 * MIB) for _ in range(9)])
    gc.collect()
    buffer = rmm.DeviceBuffer(size=2048 * MIB)
    del buffer

with check("RMM's failure callback is asked, and what it frees is found"):
    kept = [rmm.DeviceBuffer(size=1024 * MIB) for _ in range(3)]
    asked = []

    def failed(size):
        asked.append(size)
        kept.clear()
        return len(asked) < 2

    rmm.mr.set_current_device_resource(rmm.mr.FailureCallbackResourceAdaptor(resource, failed))
    buffer = rmm.DeviceBuffer(size=2048 * MIB)
    del buffer
    rmm.mr.set_current_device_resource(resource)
    assert asked == [2048 * MIB]

with check("rmm.reinitialize gives vmem's resource"):
    gc.collect()
    rmm.reinitialize(pool_allocator=True, maximum_pool_size=LIMIT)
    assert isinstance(rmm.mr.get_current_device_resource(), vmem_gpu.rmm.MemoryResource)

live = [rmm.DeviceBuffer(size=1000) for _ in range(100)]
finish()
