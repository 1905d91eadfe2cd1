"""vmem below PyTorch's caching allocator, as a MemPool. The program ends with live tensors."""

import gc

from checks import MIB, SETTINGS, check, finish, host, raises

torch = host("torch")
import vmem_gpu  # noqa: E402
import vmem_gpu.torch  # noqa: E402

gpu = vmem_gpu.open(0, SETTINGS)
pool = vmem_gpu.torch.pool()


def make(mib):
    return torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")


with check("segments are vmem's, and tensors hold what was computed") as seen:
    with torch.cuda.use_mem_pool(pool):
        values = torch.arange(4 * MIB, dtype=torch.float64, device="cuda")
        result = values * 2 + 1
    seen["torch"], seen["tier"], seen["stats"] = torch.__version__, gpu.stats().tier, gpu.stats()
    base = vmem_gpu.find_block(values.data_ptr())[0]
    assert base % 512 == 0 and gpu.stats().bytes >= values.nbytes + result.nbytes
    assert torch.equal(result.cpu(), torch.arange(4 * MIB, dtype=torch.float64) * 2 + 1)
    assert raises(vmem_gpu.Error, lambda: vmem_gpu.find_block(make(1).data_ptr())).status == "VMEM_ERROR_NOT_A_BLOCK"

with check("PyTorch's statistics count the pool"):
    before = torch.cuda.memory_allocated()
    with torch.cuda.use_mem_pool(pool):
        tensor = make(64)
    assert torch.cuda.memory_allocated() == before + 64 * MIB
    del tensor

with check("record_stream keeps what a second stream reads"):
    one, two = torch.cuda.Stream(), torch.cuda.Stream()
    delay = torch.ones(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    results = []
    with torch.cuda.use_mem_pool(pool):
        for value in range(10):
            with torch.cuda.stream(one):
                shared = torch.full((8 * MIB,), value, dtype=torch.int32, device="cuda")
            two.wait_stream(one)
            with torch.cuda.stream(two):
                product = delay @ delay
                results.append(shared + 0)
                shared.record_stream(two)
            del shared, product
            with torch.cuda.stream(one):
                del_me = torch.full((8 * MIB,), -1, dtype=torch.int32, device="cuda")
                del del_me
    torch.cuda.synchronize()
    for value, result in enumerate(results):
        assert result.min().item() == result.max().item() == value
    del results, result, delay

with check("exhaustion is PyTorch's own error, vmem says why, and the pool's end gives its segments back"):
    blocks = gpu.stats().blocks
    own = vmem_gpu.torch.pool()

    def exhaust():
        with torch.cuda.use_mem_pool(own):
            return [make(1024) for _ in range(5)]

    raises(torch.OutOfMemoryError, exhaust)
    assert "vmem_allocate" in vmem_gpu.torch.last_refusal()
    del own
    gc.collect()
    torch.cuda.empty_cache()
    assert gpu.stats().blocks == blocks, (blocks, gpu.stats())

with check("a graph is captured into the pool and launched"):
    given = torch.zeros(MIB, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, pool=pool.id):
        out = (given + 1) * 2
    given.fill_(4)
    graph.replay()
    torch.cuda.synchronize()
    assert torch.equal(out, torch.full_like(out, 10))
    del out, graph, given

with torch.cuda.use_mem_pool(pool):
    live = [torch.ones(1000, device="cuda") for _ in range(100)]
finish()
