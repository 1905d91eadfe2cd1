"""vmem as PyTorch's allocator for everything. The program ends with live tensors."""

import gc
import threading

from checks import LIMIT, MIB, SETTINGS, check, finish, host, raises

torch = host("torch")
import vmem_gpu  # noqa: E402
import vmem_gpu.torch  # noqa: E402

gpu = vmem_gpu.open(0, SETTINGS)
with check("installs, once CUDA is not yet used, with the companion") as seen:
    vmem_gpu.torch.install(companion=True)
    vmem_gpu.torch.install(companion=True)
    seen["torch"], seen["tier"] = torch.__version__, gpu.stats().tier

with check("tensors are vmem's, aligned to 512, hold what was computed, and go back"):
    values = torch.arange(MIB, dtype=torch.float64, device="cuda")
    assert vmem_gpu.find_block(values.data_ptr())[0] == values.data_ptr() and values.data_ptr() % 512 == 0
    odd = [torch.empty(size, dtype=torch.uint8, device="cuda") for size in (1, 513, 1000)]
    assert all(tensor.data_ptr() % 512 == 0 for tensor in odd)
    assert torch.equal((values * 2 + 1).cpu(), torch.arange(MIB, dtype=torch.float64) * 2 + 1)
    assert torch.empty(0, device="cuda").data_ptr() == 0
    blocks = gpu.stats().blocks
    del values, odd
    assert gpu.stats().blocks == blocks - 4

with check("a network learns, with autograd's own thread"):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)).cuda()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    inputs = torch.randn(512, 64, device="cuda")
    wanted = inputs.sum(1, keepdim=True)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(inputs), wanted)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10, losses
    del net, optimizer, inputs, wanted, loss
    gc.collect()

def second_stream(said_first: bool) -> int:
    """What one stream makes a second reads; returns how often its memory was used again."""
    one, two = torch.cuda.Stream(), torch.cuda.Stream()
    delay = torch.ones(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    reused, results = 0, []
    for value in range(30):
        with torch.cuda.stream(one):
            shared = torch.full((8 * MIB,), value, dtype=torch.int32, device="cuda")
        two.wait_stream(one)
        with torch.cuda.stream(two):
            if said_first:
                shared.record_stream(two)
            product = delay @ delay
            results.append(shared + 0)
            if not said_first:
                shared.record_stream(two)
        address = shared.data_ptr()
        del shared, product
        with torch.cuda.stream(one):
            other = torch.full((8 * MIB,), -1, dtype=torch.int32, device="cuda")
            reused += other.data_ptr() == address
            del other
        if len(results) == 5:
            torch.cuda.synchronize()
            for index, result in enumerate(results):
                assert result.min().item() == result.max().item() == value - 4 + index
            results.clear()
    return reused


with check("record_stream keeps what a second stream reads") as seen:
    seen["addresses used again"] = second_stream(said_first=False)

with check("record_stream keeps what a second stream reads later") as seen:
    seen["addresses used again"] = second_stream(said_first=True)

with check("all pooled streams are known") as seen:
    pooled = vmem_gpu.torch._pooled_streams(0)
    seen["streams"] = len(pooled)
    assert {torch.cuda.Stream(priority=-(n % 4)).cuda_stream for n in range(500)} <= pooled

with check("exhaustion is torch.OutOfMemoryError with vmem's text, after which there is memory"):
    make = lambda mib: torch.empty(mib * MIB, dtype=torch.uint8, device="cuda")  # noqa: E731
    error = raises(torch.OutOfMemoryError, lambda: [make(512) for _ in range(9)])
    assert "vmem_allocate" in str(error), error
    raises(torch.OutOfMemoryError, lambda: make(1 << 30))
    gc.collect()
    tensor = make(2048)
    del tensor

with check("a reclaimer in Python makes room"):
    kept = [make(1024) for _ in range(3)]

    @gpu.reclaimer
    def drop(wanted):
        freed = sum(tensor.nbytes for tensor in kept)
        kept.clear()
        return freed

    tensor = make(2048)
    assert not kept
    gpu.remove_reclaimer(drop)
    del tensor

with check("statistics are vmem's") as seen:
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    tensor = make(64)
    assert torch.cuda.memory_allocated() == before + 64 * MIB == gpu.stats().bytes
    del tensor
    # Each thread may keep a 64th of the peak, which was below the limit, to itself.
    peak = torch.cuda.max_memory_allocated()
    assert abs(peak - before - 64 * MIB) <= LIMIT // 64 + MIB, (peak, before)
    assert torch.cuda.memory_reserved() >= torch.cuda.memory_allocated()
    assert torch.cuda.memory_stats()["num_ooms"] == gpu.stats().failures
    assert "CUDA memory summary" in torch.cuda.memory_summary()
    seen["mem_get_info"] = torch.cuda.mem_get_info()

with check("empty_cache gives free memory back"):
    torch.cuda.synchronize()
    reserved = gpu.stats().reserved
    torch.cuda.empty_cache()
    assert gpu.stats().reserved < reserved, (reserved, gpu.stats().reserved)

with check("the memory of graphs is theirs until they go") as seen:
    net = torch.nn.Sequential(*[torch.nn.Linear(512, 512) for _ in range(8)]).cuda()
    given = torch.randn(256, 512, device="cuda")
    with torch.no_grad():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                net(given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        blocks = gpu.stats().blocks
        with torch.cuda.graph(graph):
            out = net(given)
        seen["segments"] = gpu.stats().blocks - blocks
        for seed in range(5):
            torch.manual_seed(seed)
            fresh = torch.randn(256, 512, device="cuda")
            # What is written over free memory must not reach the graph.
            trash = [torch.full((256, 512), float("nan"), device="cuda") for _ in range(64)]
            given.copy_(fresh)
            graph.replay()
            del trash
            torch.cuda.synchronize()
            assert torch.allclose(out, net(fresh), atol=1e-5), seed
    del out, graph, net, given, fresh
    gc.collect()
    torch.cuda.empty_cache()

with check("two graphs share a pool"):
    first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    given = torch.zeros(MIB, device="cuda")
    with torch.cuda.graph(first):
        half = (given + 1) * 2
    with torch.cuda.graph(second, pool=first.pool()):
        whole = half + (half * 3).sqrt().square()
    given.fill_(2)
    first.replay()
    second.replay()
    torch.cuda.synchronize()
    assert torch.allclose(whole, torch.full_like(whole, 24)), whole[:4]
    del half, whole, first, second, given
    gc.collect()

with check("threads allocate and free at once"):
    faults = []

    def work(seed):
        try:
            stream = torch.cuda.Stream()
            with torch.cuda.stream(stream):
                for step in range(200):
                    value = seed * 1000 + step
                    tensor = torch.full((1000 + step * 64,), value, dtype=torch.int64, device="cuda")
                    if step % 20 == 0:
                        assert tensor.min().item() == tensor.max().item() == value
        except BaseException as error:
            faults.append(repr(error))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not faults, faults

with check("what PyTorch's interface cannot do says so"):
    raises(RuntimeError, lambda: torch.cuda.memory_snapshot())
    raises(vmem_gpu.Error, vmem_gpu.torch.pool)
    raises(RuntimeError, lambda: torch.cuda.set_per_process_memory_fraction(0.5))

with check("all that was freed is back"):
    gc.collect()
    torch._C._cuda_clearCublasWorkspaces()
    torch.cuda.synchronize()
    assert gpu.stats().bytes < 64 * MIB, gpu.stats()

live = [torch.ones(1000, device="cuda") for _ in range(100)]
finish()
