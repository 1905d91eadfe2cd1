"""What a CUDA driver answers while a stream captures, call by call.

Runs over any `libcuda.so.1`, NVIDIA's or the software driver, so that the two can be compared:

    python3 captures.py [LIBCUDA] > answers.tsv

For every mode of capture, kind of capturing stream, calling thread and mode of that thread, a fresh
capture is begun, one call is made, and the capture is ended. A row holds the call's code, what
cuStreamIsCapturing then says of the stream (0 none, 1 active, 2 invalidated), and the code
of cuStreamEndCapture. Codes are the driver API's: 0 success, 600 not ready, 900 to 908 captures'.
"""

import ctypes as C
import itertools
import mmap
import os
import signal
import sys
import threading

cuda = C.CDLL(sys.argv[1] if len(sys.argv) > 1 else "libcuda.so.1")
GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2
MODES = {GLOBAL: "global", THREAD_LOCAL: "thread-local", RELAXED: "relaxed"}
P, U64, SIZE = C.c_void_p, C.c_uint64, C.c_size_t
LEGACY, PER_THREAD = P(1), P(2)


def call(name, *args):
    """The code of a call, or -1 where the driver lacks it."""
    try:
        function = getattr(cuda, name)
    except AttributeError:
        return -1
    function.restype = C.c_int
    return function(*args)


def must(name, *args):
    code = call(name, *args)
    if code:
        raise SystemExit(f"{name} answered {code}")


def stream(blocking=False):
    made = P()
    must("cuStreamCreate", C.byref(made), C.c_uint(0 if blocking else 1))
    return made


def event():
    made = P()
    must("cuEventCreate", C.byref(made), C.c_uint(2))
    return made


def memory(size=4096):
    made = U64()
    must("cuMemAlloc_v2", C.byref(made), SIZE(size))
    return made


class Location(C.Structure):
    _fields_ = [("type", C.c_int), ("id", C.c_int)]


class Properties(C.Structure):
    _fields_ = [
        ("type", C.c_int), ("handles", C.c_int), ("location", Location), ("security", P),
        ("compression", C.c_ubyte), ("rdma", C.c_ubyte), ("usage", C.c_ushort),
        ("reserved", C.c_ubyte * 4),
    ]


class Access(C.Structure):
    _fields_ = [("location", Location), ("flags", C.c_int)]


DEVICE = Location(1, 0)
PINNED = Properties(type=1, location=DEVICE)
ACCESS = Access(DEVICE, 3)
MIB2 = 2 << 20


def address():
    made = U64()
    must("cuMemAddressReserve", C.byref(made), SIZE(MIB2), SIZE(0), U64(0), U64(0))
    return made


def handle():
    made = U64()
    must("cuMemCreate", C.byref(made), SIZE(MIB2), C.byref(PINNED), U64(0))
    return made


class Scene:
    """One capture on `s` and what the calls need, all made before it begins."""

    def __init__(self, mode, blocking):
        self.s, self.t, self.blocking = stream(blocking), stream(), stream(True)
        self.outside, self.fresh, self.captured = event(), event(), event()
        must("cuEventRecord", self.outside, self.t)
        self.memory, self.doomed, self.freed = memory(), memory(), U64()
        if call("cuMemAllocAsync", C.byref(self.freed), SIZE(1 << 20), self.t):
            self.freed = memory()
        self.at, self.handle, self.mapped, self.mapped_handle = address(), handle(), address(), handle()
        must("cuMemMap", self.mapped, SIZE(MIB2), SIZE(0), self.mapped_handle, U64(0))
        must("cuMemSetAccess", self.mapped, SIZE(MIB2), C.byref(ACCESS), SIZE(1))
        self.host = (C.c_char * 4096)()
        must("cuCtxSynchronize")
        must("cuStreamBeginCapture_v2", self.s, C.c_int(mode))
        must("cuMemsetD8Async", self.memory, C.c_ubyte(1), SIZE(256), self.s)
        must("cuEventRecord", self.captured, self.s)

    def status(self):
        found = C.c_int()
        code = call("cuStreamIsCapturing", self.s, C.byref(found))
        return f"{found.value}" if code == 0 else f"error {code}"

    def end(self):
        graph = P()
        code = call("cuStreamEndCapture", self.s, C.byref(graph))
        if graph.value:
            call("cuGraphDestroy", graph)
        return code


def out():
    return C.byref(U64())


def ptr():
    return C.byref(P())


def int_out():
    return C.byref(C.c_int())


CALLS = {
    "nothing": lambda x: 0,
    "cuCtxSynchronize": lambda x: call("cuCtxSynchronize"),
    "cuStreamSynchronize(itself)": lambda x: call("cuStreamSynchronize", x.s),
    "cuStreamSynchronize(other)": lambda x: call("cuStreamSynchronize", x.t),
    "cuStreamSynchronize(legacy)": lambda x: call("cuStreamSynchronize", LEGACY),
    "cuStreamSynchronize(per-thread)": lambda x: call("cuStreamSynchronize", PER_THREAD),
    "cuStreamQuery(itself)": lambda x: call("cuStreamQuery", x.s),
    "cuStreamQuery(other)": lambda x: call("cuStreamQuery", x.t),
    "cuStreamQuery(legacy)": lambda x: call("cuStreamQuery", LEGACY),
    "cuStreamIsCapturing(other)": lambda x: call("cuStreamIsCapturing", x.t, int_out()),
    "cuStreamIsCapturing(legacy)": lambda x: call("cuStreamIsCapturing", LEGACY, int_out()),
    "cuStreamIsCapturing(per-thread)": lambda x: call("cuStreamIsCapturing", PER_THREAD, int_out()),
    "cuStreamGetCtx(itself)": lambda x: call("cuStreamGetCtx", x.s, ptr()),
    "cuStreamGetCtx(legacy)": lambda x: call("cuStreamGetCtx", LEGACY, ptr()),
    "cuStreamGetId(itself)": lambda x: call("cuStreamGetId", x.s, out()),
    "cuStreamGetId(legacy)": lambda x: call("cuStreamGetId", LEGACY, out()),
    "cuStreamCreate": lambda x: call("cuStreamCreate", ptr(), C.c_uint(1)),
    "cuStreamDestroy(itself)": lambda x: call("cuStreamDestroy_v2", x.s),
    "cuStreamDestroy(other)": lambda x: call("cuStreamDestroy_v2", x.t),
    "cuEventCreate": lambda x: call("cuEventCreate", ptr(), C.c_uint(2)),
    "cuEventDestroy(captured)": lambda x: call("cuEventDestroy_v2", x.captured),
    "cuEventDestroy(outside)": lambda x: call("cuEventDestroy_v2", x.outside),
    "cuEventQuery(captured)": lambda x: call("cuEventQuery", x.captured),
    "cuEventQuery(outside)": lambda x: call("cuEventQuery", x.outside),
    "cuEventQuery(never recorded)": lambda x: call("cuEventQuery", x.fresh),
    "cuEventSynchronize(captured)": lambda x: call("cuEventSynchronize", x.captured),
    "cuEventSynchronize(outside)": lambda x: call("cuEventSynchronize", x.outside),
    "cuEventRecord(itself)": lambda x: call("cuEventRecord", x.fresh, x.s),
    "cuEventRecord(other)": lambda x: call("cuEventRecord", x.fresh, x.t),
    "cuEventRecord(captured event, other)": lambda x: call("cuEventRecord", x.captured, x.t),
    "cuEventRecord(legacy)": lambda x: call("cuEventRecord", x.fresh, LEGACY),
    "cuEventRecord(per-thread)": lambda x: call("cuEventRecord", x.fresh, PER_THREAD),
    "cuStreamWaitEvent(other, captured)": lambda x: call("cuStreamWaitEvent", x.t, x.captured, C.c_uint(0)),
    "cuStreamWaitEvent(itself, outside)": lambda x: call("cuStreamWaitEvent", x.s, x.outside, C.c_uint(0)),
    "cuStreamWaitEvent(itself, never recorded)": lambda x: call("cuStreamWaitEvent", x.s, x.fresh, C.c_uint(0)),
    "cuStreamWaitEvent(legacy, outside)": lambda x: call("cuStreamWaitEvent", LEGACY, x.outside, C.c_uint(0)),
    "cuMemAlloc": lambda x: call("cuMemAlloc_v2", out(), SIZE(1 << 20)),
    "cuMemFree": lambda x: call("cuMemFree_v2", x.doomed),
    "cuMemAllocAsync(itself)": lambda x: call("cuMemAllocAsync", out(), SIZE(1 << 20), x.s),
    "cuMemAllocAsync(other)": lambda x: call("cuMemAllocAsync", out(), SIZE(1 << 20), x.t),
    "cuMemFreeAsync(itself)": lambda x: call("cuMemFreeAsync", x.freed, x.s),
    "cuMemFreeAsync(other)": lambda x: call("cuMemFreeAsync", x.freed, x.t),
    "cuMemFreeAsync(legacy)": lambda x: call("cuMemFreeAsync", x.freed, LEGACY),
    "cuMemAllocManaged": lambda x: call("cuMemAllocManaged", out(), SIZE(4096), C.c_uint(1)),
    "cuMemHostAlloc": lambda x: call("cuMemHostAlloc", ptr(), SIZE(4096), C.c_uint(0)),
    "cuMemGetInfo": lambda x: call("cuMemGetInfo_v2", C.byref(SIZE()), C.byref(SIZE())),
    "cuMemAddressReserve": lambda x: call("cuMemAddressReserve", out(), SIZE(MIB2), SIZE(0), U64(0), U64(0)),
    "cuMemCreate": lambda x: call("cuMemCreate", out(), SIZE(MIB2), C.byref(PINNED), U64(0)),
    "cuMemMap": lambda x: call("cuMemMap", x.at, SIZE(MIB2), SIZE(0), x.handle, U64(0)),
    "cuMemSetAccess": lambda x: call("cuMemSetAccess", x.mapped, SIZE(MIB2), C.byref(ACCESS), SIZE(1)),
    "cuMemUnmap": lambda x: call("cuMemUnmap", x.mapped, SIZE(MIB2)),
    "cuMemRelease": lambda x: call("cuMemRelease", x.handle),
    "cuMemsetD8Async(itself)": lambda x: call("cuMemsetD8Async", x.memory, C.c_ubyte(2), SIZE(64), x.s),
    "cuMemsetD8Async(other)": lambda x: call("cuMemsetD8Async", x.memory, C.c_ubyte(2), SIZE(64), x.t),
    "cuMemsetD8Async(blocking other)": lambda x: call("cuMemsetD8Async", x.memory, C.c_ubyte(2), SIZE(64), x.blocking),
    "cuMemsetD8Async(legacy)": lambda x: call("cuMemsetD8Async", x.memory, C.c_ubyte(2), SIZE(64), LEGACY),
    "cuMemsetD8": lambda x: call("cuMemsetD8_v2", x.memory, C.c_ubyte(2), SIZE(64)),
    "cuMemcpyHtoD": lambda x: call("cuMemcpyHtoD_v2", x.memory, x.host, SIZE(64)),
    "cuMemcpyHtoDAsync(itself)": lambda x: call("cuMemcpyHtoDAsync_v2", x.memory, x.host, SIZE(64), x.s),
    "cuMemcpyDtoHAsync(other)": lambda x: call("cuMemcpyDtoHAsync_v2", x.host, x.memory, SIZE(64), x.t),
    "cuPointerGetAttribute": lambda x: call("cuPointerGetAttribute", C.byref(P()), C.c_int(1), x.memory),
    "cuStreamBeginCapture(other)": lambda x: call("cuStreamBeginCapture_v2", x.t, C.c_int(GLOBAL)),
    "cuStreamEndCapture": lambda x: call("cuStreamEndCapture", x.s, ptr()),
    "cuStreamEndCapture(other)": lambda x: call("cuStreamEndCapture", x.t, ptr()),
}


def row(mode, blocking, elsewhere, exchanged, name):
    scene = Scene(mode, blocking)
    answer = []

    def make():
        if elsewhere:
            must("cuCtxSetCurrent", context)
        old = C.c_int(exchanged)
        must("cuThreadExchangeStreamCaptureMode", C.byref(old))
        answer.append(CALLS[name](scene))
        if name == "cuStreamBeginCapture(other)" and answer == [0]:
            must("cuStreamEndCapture", scene.t, ptr())
        must("cuThreadExchangeStreamCaptureMode", C.byref(old))

    if elsewhere:
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
    else:
        make()
    # A handle that may be dead is not touched again: that can end the process.
    gone = name == "cuStreamDestroy(itself)" and answer == [0]
    status, end = ("-", "-") if gone else (scene.status(), scene.end())
    where = "another thread" if elsewhere else "same thread"
    kind = "blocking" if blocking else "non-blocking"
    print(MODES[mode], kind, where, MODES[exchanged], name, answer[0], status, end, sep="\t")


def afterwards():
    """Events of captures that are over, and what re-recording makes of them."""
    for ending in ("ended", "graph destroyed", "invalidated"):
        scene = Scene(GLOBAL, False)
        graph = P()
        if ending == "invalidated":
            call("cuEventQuery", scene.captured)
        code = call("cuStreamEndCapture", scene.s, C.byref(graph))
        if ending == "graph destroyed":
            call("cuGraphDestroy", graph)
        rows = {
            "cuStreamEndCapture": code,
            "cuEventQuery(captured)": call("cuEventQuery", scene.captured),
            "cuEventSynchronize(captured)": call("cuEventSynchronize", scene.captured),
            "cuStreamWaitEvent(other, captured)": call("cuStreamWaitEvent", scene.t, scene.captured, C.c_uint(0)),
            "cuMemsetD8Async(other)": call("cuMemsetD8Async", scene.memory, C.c_ubyte(2), SIZE(64), scene.t),
            "cuEventRecord(captured event, other)": call("cuEventRecord", scene.captured, scene.t),
            "cuEventSynchronize(recorded again)": call("cuEventSynchronize", scene.captured),
            "cuStreamSynchronize(itself)": call("cuStreamSynchronize", scene.s),
        }
        for name, answer in rows.items():
            print("afterwards", ending, "-", "-", name, answer, "-", "-", sep="\t")


def in_child(name, body):
    """The code that `body` gives in a forked child, or the signal that ended it."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        code = body()
        os._exit(code if code < 200 else 200 + code % 50)
    _, status = os.waitpid(child, 0)
    answer = f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    print("forked child", "-", "-", "-", name, answer, "-", "-", sep="\t")


def start():
    global context
    must("cuInit", C.c_uint(0))
    context = P()
    must("cuDevicePrimaryCtxRetain", C.byref(context), C.c_int(0))
    must("cuCtxSetCurrent", context)


def dead_handles():
    """Each in a process of its own: a dead handle may end it."""
    calls = {
        "cuStreamGetId": lambda s, e: call("cuStreamGetId", s, out()),
        "cuStreamQuery": lambda s, e: call("cuStreamQuery", s),
        "cuEventRecord": lambda s, e: call("cuEventRecord", e, s),
        "cuStreamWaitEvent": lambda s, e: call("cuStreamWaitEvent", s, e, C.c_uint(0)),
        "cuStreamIsCapturing": lambda s, e: call("cuStreamIsCapturing", s, int_out()),
        "cuStreamDestroy": lambda s, e: call("cuStreamDestroy_v2", s),
        "cuMemFreeAsync": lambda s, e: call("cuMemFreeAsync", memory(), s),
    }
    for name, body in calls.items():
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            start()
            doomed, mark = stream(), event()
            must("cuEventRecord", mark, doomed)
            must("cuStreamDestroy_v2", doomed)
            print("dead stream", "-", "-", "-", name, body(doomed, mark), "-", "-", sep="\t", flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            print("dead stream", "-", "-", "-", name, f"signal {os.WTERMSIG(status)}", "-", "-", sep="\t")
    # How soon a handle is given out again.
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        start()
        seen = set()
        for made in range(1, 1001):
            s = stream()
            if s.value in seen:
                break
            seen.add(s.value)
            must("cuStreamDestroy_v2", s)
        print("dead stream", "-", "-", "-", "streams made until a handle recurs", made, "-", "-", sep="\t", flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def forked_children():
    in_child("cuMemGetInfo", lambda: call("cuMemGetInfo_v2", C.byref(SIZE()), C.byref(SIZE())))
    in_child("cuCtxGetCurrent", lambda: call("cuCtxGetCurrent", ptr()))
    in_child("cuInit", lambda: call("cuInit", C.c_uint(0)))


def in_process(body):
    """Runs `body` in a process with a context of its own. Says whether it came to its end."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(60)
            start()
            body()
            code = 0
        except SystemExit as error:
            print("#", error)
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return status == 0


def group(setting):
    """All calls under one setting; a call that spoils its process is followed by a new one."""
    progress = mmap.mmap(-1, 1)
    names = list(CALLS)

    def rest():
        for index in range(progress[0], len(names)):
            progress[0] = index
            row(*setting, names[index])

    while not in_process(rest):
        print("# a new process after", names[progress[0]])
        progress[0] += 1
        if progress[0] == len(names):
            break


if __name__ == "__main__":
    print("capture", "stream", "thread", "thread's mode", "call", "code", "status after", "end", sep="\t")
    dead_handles()
    for setting in itertools.product(MODES, (False, True), (False, True), (GLOBAL, RELAXED)):
        group(setting)
    in_process(forked_children)
    in_process(afterwards)
