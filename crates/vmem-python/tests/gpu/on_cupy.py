"""vmem_gpu.cupy under CuPy. The program ends with live arrays."""

import gc

from checks import MIB, SETTINGS, check, finish, host, raises

cupy = host("cupy")
import numpy  # noqa: E402
import vmem_gpu  # noqa: E402
import vmem_gpu.cupy  # noqa: E402

gpu = vmem_gpu.open(0, SETTINGS)
with check("installs") as seen:
    assert vmem_gpu.cupy.install() == gpu
    seen["cupy"], seen["tier"] = cupy.__version__, gpu.stats().tier

with check("arrays are vmem's, hold what was computed, and go back"):
    before = gpu.stats().bytes
    values = cupy.arange(1 << 20, dtype=cupy.float64)
    assert vmem_gpu.find_block(values.data.ptr)[0] == values.data.ptr
    assert float((values * 2 + 1).sum()) == float((numpy.arange(1 << 20, dtype=numpy.float64) * 2 + 1).sum())
    assert bool((cupy.sort(values[::-1]) == values).all())
    assert gpu.stats().bytes >= before + values.nbytes
    del values
    gc.collect()
    assert gpu.stats().bytes == before, gpu.stats()

with check("a matrix product and a transform agree with NumPy"):
    host_a = numpy.random.default_rng(1).standard_normal((256, 256))
    a = cupy.asarray(host_a)
    assert numpy.allclose(cupy.asnumpy(a @ a), host_a @ host_a)
    assert numpy.allclose(cupy.asnumpy(cupy.fft.fft(a)), numpy.fft.fft(host_a))
    del a

with check("what a second stream reads is not overwritten after a free there") as seen:
    one, two = (cupy.cuda.Stream(non_blocking=True) for _ in range(2))
    delay = cupy.ones((4096, 4096), dtype=cupy.float32)
    cupy.cuda.Device().synchronize()
    reused, results = 0, []
    for round_ in range(30):
        with one:
            shared = cupy.full(8 * MIB, round_, dtype=cupy.int32)
        two.wait_event(one.record())
        with two:
            product = delay @ delay
            results.append(shared + 0)
            address = shared.data.ptr
            # Freed while the stream that read it is current, and behind its product.
            del shared, product
        with one:
            other = cupy.full(8 * MIB, -1, dtype=cupy.int32)
            reused += other.data.ptr == address
            del other
        if len(results) == 5:
            cupy.cuda.Device().synchronize()
            for index, result in enumerate(results):
                assert int(result.min()) == int(result.max()) == round_ - 4 + index, round_
            results.clear()
    seen["addresses used again"] = reused
    del delay, result

with check("others have what was freed on streams that CuPy destroyed"):
    before = gpu.stats().blocks
    for value in range(12):
        stream = cupy.cuda.Stream(non_blocking=True)
        with stream:
            array = cupy.full(1024 * MIB, value, dtype=cupy.int8)
            copy = array[:10].copy()
        stream.synchronize()
        del stream
        # The arrays keep their stream; with them it goes.
        assert int(copy.sum()) == 10 * value
        del array, copy
    cupy.cuda.Device().synchronize()
    assert gpu.stats().blocks == before

with check("exhaustion is CuPy's own error, after which there is memory"):
    error = raises(cupy.cuda.memory.OutOfMemoryError, lambda: [cupy.empty(512 * MIB, cupy.int8) for _ in range(9)])
    assert isinstance(error.__cause__, vmem_gpu.OutOfMemoryError)
    del error
    gc.collect()
    array = cupy.empty(2048 * MIB, cupy.int8)
    del array

with check("a reclaimer makes room"):
    kept = [cupy.empty(1024 * MIB, cupy.int8) for _ in range(3)]

    @gpu.reclaimer
    def drop(wanted):
        freed = sum(array.nbytes for array in kept)
        kept.clear()
        return freed

    array = cupy.empty(2048 * MIB, cupy.int8)
    assert not kept
    gpu.remove_reclaimer(drop)
    del array

with check("a graph is captured and launched"):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        source = cupy.arange(MIB, dtype=cupy.float32)
        target = cupy.zeros_like(source)
        stream.synchronize()
        stream.begin_capture()
        cupy.multiply(source, 2, out=target)
        graph = stream.end_capture()
        for _ in range(3):
            source += 1
            graph.launch(stream)
        stream.synchronize()
        assert bool((target == (cupy.arange(MIB, dtype=cupy.float32) + 3) * 2).all())

live = [cupy.ones(1000) for _ in range(100)]
finish()
