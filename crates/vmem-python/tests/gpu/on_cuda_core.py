"""vmem_gpu.cuda_core under cuda.core. The program ends with live buffers."""

import ctypes
import gc

from checks import MIB, SETTINGS, check, finish, host, raises

core = host("cuda.core")
import vmem_gpu  # noqa: E402
import vmem_gpu.cuda_core  # noqa: E402

device = core.Device(0)
device.set_current()
gpu = vmem_gpu.open(0, SETTINGS)
resource = vmem_gpu.cuda_core.MemoryResource(0)
pinned = core.LegacyPinnedMemoryResource()
stream, other = device.create_stream(), device.create_stream()


def bytes_of(buffer, on):
    """A buffer's bytes, by way of pinned memory."""
    there = pinned.allocate(buffer.size, stream=on)
    buffer.copy_to(there, stream=on)
    on.sync()
    result = ctypes.string_at(int(there.handle), buffer.size)
    there.close(on)
    return result


with check("buffers are vmem's, keep their bytes, and go back") as seen:
    seen["cuda.core"], seen["tier"] = core.__version__, gpu.stats().tier
    before = gpu.stats().blocks
    buffer = resource.allocate(MIB, stream=stream)
    assert vmem_gpu.find_block(int(buffer.handle))[:2] == (int(buffer.handle), MIB)
    assert buffer.is_device_accessible and not buffer.is_host_accessible and buffer.device_id == 0
    buffer.fill(7, stream=stream)
    assert bytes_of(buffer, stream) == b"\7" * MIB
    buffer.close(stream)
    assert gpu.stats().blocks == before

with check("DLPack sees the device"):
    buffer = resource.allocate(MIB, stream=stream)
    seen_device = buffer.__dlpack_device__()
    assert tuple(seen_device) == (2, 0), seen_device
    try:
        import torch
    except ImportError:
        pass
    else:
        buffer.fill(3, stream=stream)
        stream.sync()
        tensor = torch.from_dlpack(buffer)
        assert int(tensor.view(torch.uint8).sum()) == 3 * MIB
        del tensor
    del buffer
    gc.collect()

with check("a close on another stream waits for that stream's work") as seen:
    reused, size = 0, 1536 * MIB
    for value in (1, 2, 3):
        buffer = resource.allocate(size, stream=stream)
        buffer.fill(value, stream=stream)
        other.wait(stream)
        copy = resource.allocate(size, stream=other)
        copy.copy_from(buffer, stream=other)
        address = int(buffer.handle)
        buffer.close(other)
        # The limit leaves no other memory.
        again = resource.allocate(size, stream=stream)
        reused += int(again.handle) == address
        again.fill(255, stream=stream)
        assert bytes_of(copy, other).count(value) == size, value
        again.close(stream)
        copy.close(other)
    seen["addresses used again"] = reused

with check("a buffer without a close goes back when its stream is gone"):
    before = gpu.stats().blocks
    for _ in range(50):
        own = device.create_stream()
        buffer = resource.allocate(MIB, stream=own)
        own.sync()
        del own, buffer
    gc.collect()
    assert gpu.stats().blocks == before

with check("exhaustion is vmem's error, a MemoryError, after which there is memory"):
    kept = []
    raises(
        vmem_gpu.OutOfMemoryError,
        lambda: [kept.append(resource.allocate(512 * MIB, stream=stream)) for _ in range(9)],
    )
    for buffer in kept:
        buffer.close(stream)
    resource.allocate(2048 * MIB, stream=stream).close(stream)

live = [resource.allocate(1000, stream=stream) for _ in range(100)]
finish()
