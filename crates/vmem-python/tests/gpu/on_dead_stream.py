"""What the driver does with the handle of a stream that was destroyed, each call in a process of its own, and that
vmem never gives it one. The answers are told, and only vmem's part is judged."""

import ctypes
import subprocess
import sys

from checks import MIB, SETTINGS, check, finish

CALLS = {
    "cuStreamGetId": "cuda.cuStreamGetId(dead, ctypes.byref(number))",
    "cuStreamQuery": "cuda.cuStreamQuery(dead)",
    "cuStreamIsCapturing": "cuda.cuStreamIsCapturing(dead, ctypes.byref(number))",
    "cuEventRecord": "cuda.cuEventRecord(event, dead)",
    "cuStreamWaitEvent": "cuda.cuStreamWaitEvent(dead, event, 0)",
    "cuMemsetD8Async": "cuda.cuMemsetD8Async(memory, ctypes.c_ubyte(1), ctypes.c_size_t(64), dead)",
    "cuStreamSynchronize": "cuda.cuStreamSynchronize(dead)",
    "cuStreamDestroy": "cuda.cuStreamDestroy_v2(dead)",
}
BEGIN = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
context, dead, event, memory = (ctypes.c_void_p() for _ in range(4))
number = ctypes.c_ulonglong()
assert cuda.cuInit(0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
assert cuda.cuCtxSetCurrent(context) == 0
assert cuda.cuEventCreate(ctypes.byref(event), 2) == 0
assert cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(1 << 20)) == 0
assert cuda.cuStreamCreate(ctypes.byref(dead), 1) == 0
assert cuda.cuEventRecord(event, dead) == 0
assert cuda.cuStreamSynchronize(dead) == 0
assert cuda.cuStreamDestroy_v2(dead) == 0
"""


def answers(call):
    """What a child says that the call answered, or what it died of."""
    done = subprocess.run(
        [sys.executable, "-c", f"{BEGIN}print('answered', {call}, flush=True)"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip() or f"ended with {done.returncode}: {done.stderr.strip()[-200:]}"


with check("what the driver does with a dead handle") as seen:
    seen |= {name: answers(call) for name, call in CALLS.items()}

with check("handles come again") as seen:
    exec(BEGIN)
    handles = []
    for _ in range(100):
        stream = ctypes.c_void_p()
        assert cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0  # noqa: F821
        handles.append(stream.value)
        assert cuda.cuStreamDestroy_v2(stream) == 0  # noqa: F821
    seen["different handles of 100 streams"] = len(set(handles))

with check("vmem frees blocks of dead streams, on the dead handle, and goes on") as seen:
    import vmem_gpu

    with vmem_gpu.open(0, SETTINGS) as gpu:
        for _ in range(200):
            stream = ctypes.c_void_p()
            assert cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0  # noqa: F821
            ptr = gpu.allocate_address(MIB, stream=stream.value)
            assert cuda.cuMemsetD8Async(ctypes.c_void_p(ptr), 1, ctypes.c_size_t(MIB), stream) == 0  # noqa: F821
            assert cuda.cuStreamDestroy_v2(stream) == 0  # noqa: F821
            vmem_gpu.free(ptr, stream.value)
        seen["before a wait for the device"] = gpu.stats()
        gpu.synchronize()
        seen["after"] = gpu.stats()
        assert gpu.stats().blocks == 0
        block = gpu.allocate(2048 * MIB)
        del block

finish()
