"""What the tests share. They run over the software driver (``cargo xtask python``); without one, only those that
need none do."""

from __future__ import annotations

import ctypes
import importlib
import os
import pathlib
import subprocess
import sys
import types

import pytest

HOSTS = pathlib.Path(__file__).parent / "hosts"

import vmem_gpu  # noqa: E402

MIB = 1 << 20


class Driver:
    """The few driver calls that the tests make themselves."""

    def __init__(self) -> None:
        self.cuda = ctypes.CDLL("libcuda.so.1")
        assert self.cuda.cuInit(0) == 0
        context = ctypes.c_void_p()
        assert self.cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0) == 0
        self.context = context

    def attach(self) -> None:
        assert self.cuda.cuCtxSetCurrent(self.context) == 0

    def control(self, command: str) -> str:
        """Has the software driver answer a question."""
        answer = ctypes.create_string_buffer(1 << 16)
        assert self.cuda.vmemSimDriverControl(command.encode(), answer, len(answer)) == 0, answer.value
        return answer.value.decode()

    def write(self, address: int, size: int, stream: int) -> int:
        """Has work on a stream write to memory. Returns the driver's answer."""
        self.attach()
        return self.cuda.cuMemsetD8Async(
            ctypes.c_void_p(address), ctypes.c_ubyte(7), ctypes.c_size_t(size), ctypes.c_void_p(stream)
        )

    def order(self, before: int, after: int) -> None:
        """Has what follows on one stream come after what is on another."""
        self.attach()
        event = ctypes.c_void_p()
        assert self.cuda.cuEventCreate(ctypes.byref(event), 2) == 0
        assert self.cuda.cuEventRecord(event, ctypes.c_void_p(before)) == 0
        assert self.cuda.cuStreamWaitEvent(ctypes.c_void_p(after), event, 0) == 0
        assert self.cuda.cuEventDestroy_v2(event) == 0

    def begin_capture(self, stream: int) -> None:
        """In the mode in which calls of all threads can break it."""
        self.attach()
        assert self.cuda.cuStreamBeginCapture_v2(ctypes.c_void_p(stream), 0) == 0

    def end_capture(self, stream: int) -> None:
        """Ends a capture, which must be whole."""
        self.attach()
        graph = ctypes.c_void_p()
        assert self.cuda.cuStreamEndCapture(ctypes.c_void_p(stream), ctypes.byref(graph)) == 0
        assert graph.value and self.cuda.cuGraphDestroy(graph) == 0

    def create_stream(self) -> int:
        self.attach()
        stream = ctypes.c_void_p()
        # 1 is a stream that does not synchronise with the legacy default stream.
        assert self.cuda.cuStreamCreate(ctypes.byref(stream), 1) == 0
        return stream.value

    def destroy_stream(self, handle: int) -> None:
        self.attach()
        assert self.cuda.cuStreamDestroy_v2(ctypes.c_void_p(handle)) == 0


@pytest.fixture(scope="session")
def driver() -> Driver:
    usable = vmem_gpu.available()
    if not usable:
        assert "REQUIRE_CUDA_DRIVER" not in os.environ, str(usable)
        pytest.skip(str(usable))
    return Driver()


@pytest.fixture
def gpu(driver):
    """Device 0, with recovery and a limit of 64 MiB."""
    with vmem_gpu.open(0, "VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M") as opened:
        yield opened
        assert opened.stats().blocks == 0, "the test left blocks"
        assert driver.control("violations") == ""


@pytest.fixture
def host(monkeypatch):
    """Imports a stand-in for a host, and then the adaptor to it, both anew."""

    def load(name: str, adaptor: str) -> tuple[types.ModuleType, types.ModuleType]:
        monkeypatch.syspath_prepend(HOSTS)
        for module in [*sys.modules]:
            root, _, own = module.partition(".")
            is_host = root in {"cupy", "rmm", "numba", "cuda", "torch"}
            if is_host or root == "vmem_gpu" and own.startswith((adaptor, f"_{adaptor}")):
                monkeypatch.delitem(sys.modules, module)
        stand_in = importlib.import_module(name)
        assert pathlib.Path(stand_in.__file__).is_relative_to(HOSTS)
        return stand_in, importlib.import_module(f"vmem_gpu.{adaptor}")

    return load


@pytest.fixture
def child(driver):
    """Runs a program in a process of its own, and returns what it wrote."""

    def run(program: str, **settings: str) -> str:
        environment = {**os.environ, **settings}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
        assert done.stderr == ""
        return done.stdout

    return run
