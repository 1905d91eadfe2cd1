"""``vmem_gpu.torch.install`` over a stand-in for PyTorch's pluggable allocator, whose C++ calls vmem and catches
what it throws as PyTorch's does."""

import ctypes
import gc
import os
import pathlib
import shutil
import subprocess
import threading

import pytest
import vmem_gpu
from conftest import MIB

ALL_HOOKS = {
    "set_base_alloc_fn",
    "set_begin_allocate_to_pool",
    "set_end_allocate_to_pool_fn",
    "set_init_fn",
    "set_memory_fraction_fn",
    "set_record_stream_fn",
    "set_release_pool",
    "set_reset_fn",
}


@pytest.fixture(scope="session")
def compiler():
    found = shutil.which("g++")
    if found is None:
        assert "REQUIRE_PYTHON" not in os.environ, "the stand-in for PyTorch is C++, and there is no g++"
        pytest.skip("no g++")
    return found


@pytest.fixture(scope="session")
def built(compiler, tmp_path_factory):
    return tmp_path_factory.mktemp("torch") / "torch"


@pytest.fixture
def hosts(host, driver, compiler, built, tmp_path_factory, monkeypatch):
    """The stand-in, and the adaptor to it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("CXX", compiler)
    stand_in, adaptor = host("torch", "torch")
    stand_in.build(built, compiler)
    return stand_in, adaptor


@pytest.fixture
def torch(hosts, gpu):
    """PyTorch with vmem as its allocator, on device 0 with a limit of 64 MiB."""
    stand_in, adaptor = hosts
    adaptor.install(companion=False)
    allocator = stand_in.cuda.memory.current
    allocator.init(1)
    yield allocator
    gc.collect()


def test_every_hook_is_set(torch):
    assert torch.hooks == ALL_HOOKS


def test_memory_is_vmems_and_aligned_and_goes_back(torch, gpu):
    for size in (1, 513, 1000):
        ptr = torch.malloc(size)
        assert ptr % 512 == 0 and vmem_gpu.find_block(ptr)[1] == size
        assert torch.base_alloc(ptr) == (ptr, size)
        torch.free(ptr, size)
    assert gpu.stats().blocks == 0


def test_no_bytes_are_null_without_an_error(torch, gpu):
    assert torch.malloc(0) is None
    torch.free(None)
    assert gpu.stats().total_blocks == 0


@pytest.mark.parametrize("size", [65 * MIB, 1 << 62, 1 << 63, (1 << 64) - 1])
def test_exhaustion_without_the_companion_is_a_runtime_error_with_vmems_text(torch, size):
    with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate") as raised:
        torch.malloc(size)
    assert type(raised.value) is RuntimeError


def test_a_device_that_is_not_there_is_a_runtime_error(torch):
    with pytest.raises(RuntimeError, match="99"):
        torch.malloc(1, device=99)


def test_exhaustion_with_the_companion_is_pytorchs_error_and_it_is_compiled_once(hosts, gpu, monkeypatch):
    stand_in, adaptor = hosts
    adaptor.install(companion=True)
    allocator = stand_in.cuda.memory.current
    with pytest.raises(stand_in.OutOfMemoryError, match="CUDA out of memory. vmem_allocate"):
        allocator.malloc(65 * MIB)
    with pytest.raises(RuntimeError, match="99") as raised:
        allocator.malloc(1, device=99)
    assert type(raised.value) is RuntimeError
    assert allocator.malloc(0) is None
    ptr = allocator.malloc(1000)
    allocator.free(ptr)
    companion = adaptor._load_companion.__globals__
    monkeypatch.setitem(companion, "_compile", lambda *_: pytest.fail("compiled again"))
    adaptor._load_companion(vmem_gpu._native.torch_hooks(0, list)["try_allocate"])


def test_without_a_compiler_exhaustion_is_a_runtime_error_and_a_warning_says_so(hosts, gpu, monkeypatch, tmp_path):
    stand_in, adaptor = hosts
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(adaptor.CompanionError, match="no C\\+\\+ compiler"):
        adaptor.install(companion=True)
    with pytest.warns(UserWarning, match="RuntimeError, not torch.OutOfMemoryError.*no C\\+\\+ compiler"):
        adaptor.install()
    with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate"):
        stand_in.cuda.memory.current.malloc(65 * MIB)


def test_what_else_the_companion_lacks_is_named(hosts, monkeypatch, tmp_path):
    stand_in, adaptor = hosts
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CXX", "false --of-course")
    with pytest.raises(adaptor.CompanionError, match="false --of-course .* failed"):
        adaptor.allocator(companion=True)
    assert not list((tmp_path / "cache" / "vmem_gpu").iterdir())
    monkeypatch.setenv("CXX", str(tmp_path / "nowhere"))
    with pytest.raises(adaptor.CompanionError, match="nowhere did not start"):
        adaptor.allocator(companion=True)
    monkeypatch.setattr(stand_in, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(adaptor.CompanionError, match="no headers"):
        adaptor.allocator(companion=True)


@pytest.mark.parametrize("with_lock", [False, True])
def test_reclaimers_in_python_are_asked_whether_or_not_pytorch_has_the_lock(torch, gpu, with_lock):
    kept = [torch.malloc(40 * MIB)]

    @gpu.reclaimer
    def drop(wanted):
        torch.free(kept.pop())
        return 40 * MIB

    ptr = torch.malloc(48 * MIB, with_lock=with_lock)
    assert not kept
    torch.free(ptr, with_lock=with_lock)


@pytest.mark.parametrize("with_lock", [False, True])
def test_nobody_waits_for_memory_with_the_interpreters_lock(hosts, torch, gpu, with_lock):
    stand_in, _ = hosts
    library = ctypes.CDLL(vmem_gpu.get_library())
    look, lock = stand_in._C.library.torch_look_at_lock, ctypes.pythonapi.PyGILState_Check
    assert library.vmem_set_pressure_callback(0, look, lock, None) == 0
    kept = torch.malloc(40 * MIB)
    with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate"):
        torch.malloc(48 * MIB, with_lock=with_lock)
    assert stand_in._C.library.torch_lock_was_held() == 0
    assert library.vmem_set_pressure_callback(0, None, None, None) == 0
    torch.free(kept)


@pytest.fixture
def streams(hosts, driver):
    """Two of PyTorch's pooled streams."""
    stand_in, _ = hosts
    stand_in.cuda.pooled = [driver.create_stream() for _ in range(2)]
    yield stand_in.cuda.pooled
    for stream in stand_in.cuda.pooled:
        driver.destroy_stream(stream)


class TestRecordStream:
    def test_a_use_that_follows_it_is_over_before_the_memory_is_used_again(self, driver, streams, torch, gpu):
        own, user = streams
        ptr = torch.malloc(MIB, stream=own)
        assert driver.write(ptr, MIB, own) == 0
        driver.order(own, user)
        torch.record_stream(ptr, user)
        assert driver.write(ptr, MIB, user) == 0
        torch.free(ptr, MIB, stream=own)
        again = torch.malloc(MIB, stream=own)
        assert again == ptr and driver.write(again, MIB, own) == 0
        assert driver.control("violations") == ""
        torch.free(again, MIB, stream=own)
        for stream in streams:
            gpu.forget_stream(stream)

    def test_memory_on_the_default_stream_that_a_pooled_one_uses(self, driver, streams, torch, gpu):
        ptr = torch.malloc(MIB)
        torch.record_stream(ptr, streams[0])
        assert driver.write(ptr, MIB, streams[0]) == 0
        torch.free(ptr, MIB)
        again = torch.malloc(MIB)
        assert again == ptr and driver.write(again, MIB, 0) == 0
        assert driver.control("violations") == ""
        torch.free(again, MIB)
        gpu.forget_stream(streams[0])

    def test_memory_that_a_stream_of_others_uses_waits_for_the_device(self, driver, streams, torch, gpu):
        theirs = driver.create_stream()
        ptr = torch.malloc(40 * MIB, stream=streams[0])
        driver.order(streams[0], theirs)
        torch.record_stream(ptr, theirs)
        assert driver.write(ptr, 40 * MIB, theirs) == 0
        # Nobody can name it when the memory is freed.
        driver.destroy_stream(theirs)
        torch.free(ptr, 40 * MIB, stream=streams[0])
        other = torch.malloc(MIB, stream=streams[0])
        assert not ptr <= other < ptr + 40 * MIB
        torch.free(other, MIB, stream=streams[0])
        again = torch.malloc(48 * MIB, stream=streams[0])
        assert driver.write(again, 48 * MIB, streams[0]) == 0
        assert driver.control("violations") == ""
        torch.free(again, stream=streams[0])
        gpu.forget_stream(streams[0])

    def test_a_stream_of_others_that_is_held_is_marked(self, driver, streams, torch, gpu):
        theirs = driver.create_stream()
        gpu.hold_stream(theirs)
        ptr = torch.malloc(MIB, stream=streams[0])
        driver.order(streams[0], theirs)
        torch.record_stream(ptr, theirs)
        assert driver.write(ptr, MIB, theirs) == 0
        gpu.forget_stream(theirs)
        driver.destroy_stream(theirs)
        torch.free(ptr, MIB, stream=streams[0])
        again = torch.malloc(MIB, stream=streams[0])
        assert again == ptr and driver.write(again, MIB, streams[0]) == 0
        assert driver.control("violations") == ""
        torch.free(again, MIB, stream=streams[0])
        gpu.forget_stream(streams[0])

    def test_pooled_streams_share_what_they_free(self, driver, streams, torch, gpu):
        first, second = streams
        ptr = torch.malloc(48 * MIB, stream=first)
        assert driver.write(ptr, 48 * MIB, first) == 0
        torch.free(ptr, stream=first)
        again = torch.malloc(48 * MIB, stream=second)
        assert driver.write(again, 48 * MIB, second) == 0
        assert driver.control("violations") == ""
        torch.free(again, stream=second)
        for stream in streams:
            gpu.forget_stream(stream)


def test_streams_may_be_gone_when_another_thread_frees(torch, gpu, driver):
    stream = driver.create_stream()
    ptr = torch.malloc(1000, stream=stream)
    driver.destroy_stream(stream)
    thread = threading.Thread(target=torch.free, args=(ptr, 1000, 0, stream))
    thread.start()
    thread.join()
    assert gpu.stats().blocks == 0


@pytest.mark.parametrize("with_lock", [False, True])
def test_empty_cache_returns_what_is_free(torch, gpu, with_lock):
    torch.free(torch.malloc(8 * MIB))
    assert gpu.stats().reserved > 0
    torch.empty_cache(with_lock=with_lock)
    assert gpu.stats().reserved == 0


def test_exhaustion_first_waits_for_what_only_the_device_can_free(torch, gpu, driver):
    stream = driver.create_stream()
    ptr = torch.malloc(40 * MIB, stream=stream)
    # Nobody can name this one.
    torch.free(ptr, 40 * MIB, stream=0x1234)
    assert gpu.trim() == 0
    ptr = torch.malloc(48 * MIB)
    torch.free(ptr)
    driver.destroy_stream(stream)


class TestFractions:
    def test_a_fraction_that_is_set_first_is_the_limit(self, hosts, driver):
        stand_in, adaptor = hosts
        adaptor.install(companion=False)
        allocator = stand_in.cuda.memory.current
        allocator.set_memory_fraction(0.25, 0)
        with vmem_gpu.runtime(0) as gpu:
            limit = gpu.stats().limit
            free, total = ctypes.c_size_t(), ctypes.c_size_t()
            driver.attach()
            assert driver.cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
            assert limit == total.value // 4
            with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate"):
                allocator.malloc(limit + MIB)

    def test_a_fraction_of_a_device_that_is_open_is_refused_with_the_reason(self, torch):
        with pytest.raises(RuntimeError, match="before the first tensor"):
            torch.set_memory_fraction(0.5, 0)


class Capture:
    """A graph that PyTorch captures on a stream, for the pool that is given."""

    def __init__(self, torch, driver, stream, pool=7):
        self.torch, self.driver, self.stream, self.pool = torch, driver, stream, pool

    def __enter__(self):
        self.torch.begin_pool(0, self.pool)
        self.driver.begin_capture(self.stream)
        return self

    def __exit__(self, *_):
        self.driver.end_capture(self.stream)
        self.torch.end_pool(0, self.pool)

    def malloc(self, size):
        return self.torch.malloc(size, stream=self.stream)

    def free(self, ptr):
        self.torch.free(ptr, stream=self.stream)


class TestGraphs:
    """The memory of a graph that is captured on a stream."""

    @pytest.fixture
    def capture(self, torch, driver):
        stream = driver.create_stream()
        yield Capture(torch, driver, stream)
        driver.destroy_stream(stream)

    def test_a_graphs_memory_serves_nobody_else_until_it_is_released(self, torch, gpu, capture):
        with capture:
            ptr = capture.malloc(30 * MIB)
            outside = torch.malloc(1000)
        capture.free(ptr)
        torch.free(outside)
        assert ptr % 512 == 0 and gpu.stats().bytes == 30 * MIB
        with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate"):
            capture.malloc(40 * MIB)
        torch.release_pool(0, 7)
        assert gpu.stats().bytes == 0 and gpu.trim(wait=True) == 0, "launches may be under way"
        torch.free(torch.malloc(40 * MIB))

    def test_within_the_pool_and_stream_memory_is_used_again_and_joined(self, torch, gpu, capture):
        with capture:
            first, second, third = (capture.malloc(512 * 1024) for _ in range(3))
            assert gpu.stats().blocks == 1 and second == first + 512 * 1024
            for ptr in (first, third, second):
                capture.free(ptr)
            whole = capture.malloc(MIB)
            assert whole == first
        # A second graph of the pool goes on with what the first one left.
        with capture:
            assert capture.malloc(MIB) == whole + MIB
        torch.release_pool(0, 7)
        capture.free(whole)
        assert gpu.stats().blocks == 1, "the other graph is there still"
        torch.release_pool(0, 7)
        assert gpu.stats().blocks == 1, "a tensor is there still"
        capture.free(whole + MIB)
        assert gpu.stats().blocks == 0

    def test_a_large_request_has_a_segment_of_its_size_where_that_alone_fits(self, torch, gpu, capture):
        kept = torch.malloc(50 * MIB)
        with capture:
            # PyTorch's own allocator would ask for 20 MiB.
            ptr = capture.malloc(8 * MIB)
        assert gpu.stats().bytes == 58 * MIB
        capture.free(ptr)
        torch.free(kept)
        torch.release_pool(0, 7)

    def test_what_another_stream_of_the_graph_uses_is_not_used_again(self, torch, gpu, capture):
        with capture:
            ptr = capture.malloc(1000)
            torch.record_stream(ptr, 0x1234)
            capture.free(ptr)
            other = capture.malloc(1000)
            assert other != ptr
        capture.free(other)
        torch.release_pool(0, 7)
        assert gpu.stats().blocks == 0

    def test_memory_is_ready_for_the_graph_whatever_used_it_before(self, torch, gpu, driver, capture):
        busy = driver.create_stream()
        gpu.hold_stream(busy)
        ptr = torch.malloc(40 * MIB, stream=busy)
        assert driver.write(ptr, 40 * MIB, busy) == 0
        torch.free(ptr, stream=busy)
        with capture:
            ptr = capture.malloc(40 * MIB)
            assert driver.write(ptr, 40 * MIB, capture.stream) == 0
            capture.free(ptr)
            assert capture.malloc(40 * MIB) == ptr
        capture.free(ptr)
        torch.release_pool(0, 7)
        gpu.forget_stream(busy)
        driver.destroy_stream(busy)

    def test_what_other_code_captures_has_memory_too(self, torch, gpu, driver, capture):
        driver.begin_capture(capture.stream)
        ptr = capture.malloc(MIB)
        assert driver.write(ptr, MIB, capture.stream) == 0
        driver.end_capture(capture.stream)
        capture.free(ptr)
        assert gpu.stats().blocks == 0

    def test_while_a_graph_is_captured_nothing_waits_for_the_device(self, torch, gpu, capture):
        torch.free(torch.malloc(40 * MIB), stream=0x1234)
        with capture:
            with pytest.raises(RuntimeError, match="CUDA out of memory. vmem_allocate"):
                torch.malloc(48 * MIB)
            torch.empty_cache()
            assert gpu.stats().reserved == 40 * MIB
        torch.release_pool(0, 7)
        torch.empty_cache()
        assert gpu.stats().reserved == 0

    def test_reclaimers_in_python_are_not_asked_in_a_capture(self, torch, gpu, capture):
        asked = []
        gpu.reclaimer(asked.append)
        kept = torch.malloc(40 * MIB)
        with capture, pytest.raises(RuntimeError, match="not asked"):
            capture.malloc(48 * MIB)
        torch.release_pool(0, 7)
        torch.free(kept)
        assert not asked

    def test_of_two_captures_at_once_a_threads_own_has_its_memory(self, torch, gpu, driver, capture):
        stream = driver.create_stream()
        other = Capture(torch, driver, stream, pool=8)
        begun, over = threading.Event(), threading.Event()
        got = []

        def work():
            with other:
                begun.set()
                over.wait()
                got.append(other.malloc(1000))

        thread = threading.Thread(target=work)
        with capture:
            thread.start()
            begun.wait()
            ptr = capture.malloc(1000)
            stranger = threading.Thread(target=lambda: got.append(self.refusal(capture)))
            stranger.start()
            stranger.join()
            over.set()
            thread.join()
        assert "several graphs" in got[0]
        capture.free(ptr)
        torch.release_pool(0, 7)
        assert gpu.stats().blocks == 1, "the other pool's"
        other.free(got[1])
        torch.release_pool(0, 8)
        assert gpu.stats().blocks == 0
        driver.destroy_stream(stream)

    @staticmethod
    def refusal(capture):
        with pytest.raises(RuntimeError) as raised:
            capture.malloc(1000)
        return str(raised.value)


class TestInstalling:
    def test_once_pytorch_has_used_cuda_it_is_refused(self, hosts, monkeypatch):
        stand_in, adaptor = hosts
        monkeypatch.setattr(stand_in.cuda.memory, "is_initialized", True)
        with pytest.raises(vmem_gpu.Error, match="install\\(\\) first") as raised:
            adaptor.install(companion=False)
        assert raised.value.status == "VMEM_ERROR_UNSUPPORTED" and raised.value.details == "{}"

    def test_a_pytorch_without_cuda_is_refused(self, hosts, monkeypatch):
        stand_in, adaptor = hosts
        monkeypatch.delattr(stand_in._C, "_cuda_customAllocator")
        with pytest.raises(vmem_gpu.Error, match="without CUDA"):
            adaptor.install(companion=False)

    def test_again_it_does_nothing_and_pools_are_refused(self, hosts, monkeypatch):
        stand_in, adaptor = hosts
        adaptor.install(companion=False)
        monkeypatch.setattr(stand_in.cuda.memory, "is_initialized", True)
        adaptor.install(companion=False)
        with pytest.raises(vmem_gpu.Error, match="no pools"):
            adaptor.pool()

    def test_statistics_are_answered(self, hosts, gpu):
        stand_in, adaptor = hosts
        with pytest.raises(RuntimeError):
            stand_in.cuda.memory_stats()
        adaptor.install(companion=False)
        allocator = stand_in.cuda.memory.current
        kept, gone = allocator.malloc(1000), allocator.malloc(3000)
        allocator.free(gone)
        stats = stand_in.cuda.memory_stats()
        assert stats["allocated_bytes"]["all"] == {"current": 1000, "peak": 4000, "allocated": 4000, "freed": 3000}
        assert stats["allocation"]["all"]["current"] == 1
        assert stats["reserved_bytes"]["all"]["current"] == gpu.stats().reserved
        stand_in.cuda.reset_peak_memory_stats()
        assert stand_in.cuda.memory_stats()["allocated_bytes"]["all"]["peak"] == 1000
        allocator.free(kept)

    def test_statistics_can_be_left_alone(self, hosts):
        stand_in, adaptor = hosts
        adaptor.install(companion=False, patch_statistics=False)
        with pytest.raises(RuntimeError, match="does not yet support"):
            stand_in.cuda.memory_stats()
        with vmem_gpu.open(0, "VMEM_POOL_LIMIT=64M"):
            assert adaptor.memory_stats(0)["num_ooms"] == 0


BEGIN = f"""
import sys, pathlib
sys.path[:0] = [{str(pathlib.Path(__file__).parent / "hosts")!r}]
import torch, vmem_gpu, vmem_gpu.torch
torch.build(pathlib.Path(FOLDER), "g++")
vmem_gpu.torch.install(companion=False)
allocator = torch.cuda.memory.current
allocator.init(1)
gpu = vmem_gpu.open(0, "VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M")
"""


def test_a_program_ends_with_live_tensors_and_graphs(child, hosts, built):
    program = f"FOLDER = {str(built)!r}" + BEGIN + (
        "class Tensor:\n"
        "    def __init__(self): self.ptr = allocator.malloc(1000)\n"
        "    def __del__(self, free=allocator.free): free(self.ptr)\n"
        "allocator.begin_pool(0, 7)\n"
        "live = [Tensor() for _ in range(10)]\n"
        "sys.keep = live\n"
        "print('end')"
    )
    assert child(program) == "end\n"


def test_a_child_of_a_fork_drops_its_parents_tensors(child, hosts, built):
    program = f"FOLDER = {str(built)!r}" + BEGIN + (
        "import os\n"
        "ptr = allocator.malloc(1000)\n"
        "if os.fork() == 0:\n"
        "    allocator.free(ptr); allocator.empty_cache(); allocator.record_stream(ptr, 0)\n"
        "    try: allocator.malloc(1)\n"
        "    except RuntimeError as error: print('forked' in str(error), flush=True)\n"
        "else:\n"
        "    print(os.wait()[1], flush=True); allocator.free(ptr)"
    )
    assert child(program) == "True\n0\n"


WITH_PYTORCH = """
import ctypes, pathlib, subprocess, sys
import torch, vmem_gpu, vmem_gpu.torch
from vmem_gpu import _native, _torch_companion
root, library = pathlib.Path(torch.__file__).parent, sys.argv[2]
flags = ["-std=c++20", "-shared", "-fPIC", "-w", "-isystem", root / "include", "-L", root / "lib"]
subprocess.run(["g++", *flags, sys.argv[1], "-o", library, "-lc10"], check=True)
caller = ctypes.CDLL(library)
caller.torch_create.restype, caller.torch_what.restype = ctypes.c_void_p, ctypes.c_char_p
hooks = _native.torch_hooks(0, list)
vmem_gpu.open(0, "VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M")
for allocate in (hooks["allocate"], _torch_companion.load(hooks["try_allocate"])):
    own = ctypes.c_void_p(caller.torch_create(ctypes.c_uint64(allocate), ctypes.c_uint64(hooks["free"])))
    ptr = ctypes.c_void_p()
    malloc = lambda size, device: caller.torch_malloc(own, ctypes.c_size_t(size), device, None, ctypes.byref(ptr))
    print(malloc(1000, 0), ptr.value % 512, caller.torch_free(own, ptr, ctypes.c_size_t(1000), 0, None))
    print(malloc(65 << 20, 0), b"vmem_allocate" in caller.torch_what(), malloc(1, 99))
vmem_gpu.torch.install(companion=True)
print(sorted(name for name in dir(vmem_gpu.torch._installed.allocator()) if name.startswith("set_")))
"""


def test_with_the_headers_of_a_pytorch_that_is_named(driver, compiler, tmp_path):
    """``VMEM_TORCH_PYTHON`` names a Python that has PyTorch."""
    python = os.environ.get("VMEM_TORCH_PYTHON")
    if python is None:
        pytest.skip("VMEM_TORCH_PYTHON names no Python")
    source = pathlib.Path(__file__).parent / "hosts/torch/csrc/pluggable.cpp"
    packages = pathlib.Path(vmem_gpu.__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(packages), "XDG_CACHE_HOME": str(tmp_path)}
    said = subprocess.check_output(
        [python, "-c", WITH_PYTORCH, source, tmp_path / "caller.so"], env=environment, text=True
    )
    assert said.splitlines() == ["0 0 0", "1 True 1", "0 0 0", "2 True 1", str(sorted(ALL_HOOKS))]
