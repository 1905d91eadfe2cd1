#!/usr/bin/env python3
"""The three streams that RMM's pool lost the order of until 26.06 (rapidsai/rmm 2489), on a card.

  PYTHONPATH=<rmm of some version> python3 rmm_merge.py rmm|vmem

A stream writes a block, late, and frees it. A second stream asks for more than is free, so that RMM merges lists:
once it is refused, once the pool grows. A third is given the block and writes. A line of JSON each: whether the
third stream's write was over while the first's was still pending, and whose bytes the block has in the end.
"""
import json
import sys

BLOCK = 32 << 20

SPIN = r"""
extern "C" __global__ void spin(unsigned long long ns) {
    unsigned long long begin, now;
    asm volatile("mov.u64 %0, %globaltimer;" : "=l"(begin));
    do { asm volatile("mov.u64 %0, %globaltimer;" : "=l"(now)); } while (now - begin < ns);
}
"""


def resource(kind, most):
    if kind == "vmem":
        import vmem_gpu.rmm

        return vmem_gpu.rmm.MemoryResource(maximum_pool_size=most)
    import rmm

    return rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size=BLOCK, maximum_pool_size=most)


def run(kind, second_grows):
    import cupy
    import numpy
    import rmm
    from rmm.pylibrmm.stream import Stream

    spin = cupy.RawKernel(SPIN, "spin")
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(3)]
    donor, second, thief = streams
    on = {stream: Stream(stream) for stream in streams}
    # What is compiled or loaded late is not between the calls.
    with donor:
        spin((1,), (1,), (numpy.uint64(1000),))
    cupy.cuda.runtime.deviceSynchronize()

    pool = resource(kind, 3 * BLOCK if second_grows else BLOCK)
    first = pool.allocate(BLOCK, on[donor])
    with donor:
        spin((1,), (1,), (numpy.uint64(1_500_000_000),))
    cupy.cuda.runtime.memsetAsync(first, 0xAA, BLOCK, donor.ptr)
    pool.deallocate(first, BLOCK, on[donor])
    large, refused = None, False
    try:
        large = pool.allocate(2 * BLOCK, on[second])
    except MemoryError:
        refused = True
    donor_pending_at_theft = not donor.done
    last = pool.allocate(BLOCK, on[thief])
    cupy.cuda.runtime.memsetAsync(last, 0xCC, BLOCK, thief.ptr)
    thief.synchronize()
    overtaken = not donor.done
    cupy.cuda.runtime.deviceSynchronize()
    host = numpy.empty(BLOCK, numpy.uint8)
    cupy.cuda.runtime.memcpy(host.ctypes.data, last, BLOCK, 2)
    found = {hex(value): int(count) for value, count in zip(*numpy.unique(host, return_counts=True))}
    line = {
        "pool": kind, "rmm": rmm.__version__, "second": "grows" if second_grows else "is refused",
        "second_refused": refused, "same_block": first == last, "donor_pending_at_theft": donor_pending_at_theft,
        "overtaken": overtaken, "bytes": found, "in_order": set(found) == {"0xcc"} and not (overtaken and first == last),
    }
    print(json.dumps(line), flush=True)
    pool.deallocate(last, BLOCK, on[thief])
    if large is not None:
        pool.deallocate(large, 2 * BLOCK, on[second])


def main():
    if len(sys.argv) == 3:
        run(sys.argv[1], sys.argv[2] == "grows")
        return
    import subprocess

    # A process each, as vmem's limit is a device's.
    for second in ("grows", "refused"):
        subprocess.run([sys.executable, __file__, sys.argv[1], second], timeout=60, check=False)


if __name__ == "__main__":
    main()
