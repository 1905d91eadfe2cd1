"""A plugin of pytest (`-p plugin`): records each test, and has the tests' library allocate from vmem.

`run.py` sets what it reads from the environment: SUITE, MODE, the files RECORD (a line of JSON for each test is
appended), STATE (which test has begun and which is over) and TESTS (the ids to run; without it the ids that are
found are written to IDS, and nothing runs).
"""
import contextlib
import json
import os

import pytest

SUITE, MODE = os.environ["SUITE"], os.environ["MODE"]


def append(variable, text):
    """One write to a file that other processes append to as well."""
    file = os.open(os.environ[variable], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, text.encode(errors="replace"))
    os.close(file)


def record(**line):
    append("RECORD", json.dumps({"suite": SUITE, "mode": MODE} | line) + "\n")


# How each library is told, by suite and mode. What is returned is called again before each test, as tests set
# allocators of their own and leave CuPy's or RMM's behind; that of a pool gives what is around a test.

def cupy_vmem():
    import cupy
    import vmem_gpu.cupy

    vmem_gpu.cupy.install()
    return lambda item: cupy.cuda.set_allocator(vmem_gpu.cupy.allocate)


def numba_vmem():
    """The variable NUMBA_CUDA_MEMORY_MANAGER says it, which `run.py` sets."""


def rmm_vmem():
    import rmm
    import vmem_gpu.rmm

    resource = vmem_gpu.rmm.install()
    return lambda item: rmm.mr.set_per_device_resource(0, resource)


def rmm_upstream():
    """vmem in place of RMM's resource for cudaMalloc as well, so that RMM's pools and adaptors stand on it."""
    import rmm
    import vmem_gpu.rmm

    again = rmm_vmem()
    rmm.mr.CudaMemoryResource = vmem_gpu.rmm.MemoryResource
    return again


def cuda_core_vmem():
    import cuda.core
    import vmem_gpu.cuda_core

    class Resource(vmem_gpu.cuda_core.MemoryResource):
        """vmem's, without a stream as well: the tests' own resource is synchronous."""

        def __init__(self, device=0):
            super().__init__(getattr(device, "device_id", device))

        def allocate(self, size, *, stream=None):
            return super().allocate(size, stream=stream or cuda.core.LEGACY_DEFAULT_STREAM)

        def deallocate(self, ptr, size, *, stream=None):
            super().deallocate(ptr, size, stream=stream or cuda.core.LEGACY_DEFAULT_STREAM)

    try:
        from helpers import buffers
    except ImportError:
        raise pytest.UsageError("cuda.core's tests have helpers.buffers, which is not on PYTHONPATH") from None
    buffers.DummyDeviceMemoryResource = Resource


@pytest.fixture(autouse=SUITE == "cuda_core" and MODE == "vmem")
def default_resource(request):
    """The resource of the test's device, which `Device.allocate` uses."""
    if "init_cuda" in request.fixturenames:
        import helpers.buffers

        device = request.getfixturevalue("init_cuda")
        device.memory_resource = helpers.buffers.DummyDeviceMemoryResource(device)


def torch_vmem():
    import vmem_gpu.torch

    vmem_gpu.torch.install()


def torch_pool():
    """A pool of vmem's around each test; PyTorch's tests of pools make their own, and the allocator that they
    compile for them takes from vmem what it took from cudaMallocManaged."""
    import torch
    import torch.utils.cpp_extension
    import vmem_gpu
    import vmem_gpu.torch

    compiled = torch.utils.cpp_extension.load_inline

    def load_inline(*args, cpp_sources, **options):
        library = json.dumps(vmem_gpu.get_library())
        sources = cpp_sources.replace("C10_CUDA_CHECK(cudaMallocManaged(&ptr, size));",
                                      "ptr = vmem_allocate(size, device, stream);")
        sources = sources.replace("C10_CUDA_CHECK(cudaFree(ptr));", "vmem_free(ptr, size, device, stream);")
        if sources != cpp_sources:
            sources = VMEM_IN_CPP.replace("LIBRARY", library) + sources
        return compiled(*args, cpp_sources=sources, **options)

    torch.utils.cpp_extension.load_inline = load_inline
    # One, for good: a pool must outlive its tensors.
    held = []

    def around(item):
        if item.cls is not None and item.cls.__name__ == "TestMemPool":
            return contextlib.nullcontext()
        if not held:
            held.append(vmem_gpu.torch.pool())
        return torch.cuda.use_mem_pool(held[0])
    return around


VMEM_IN_CPP = """
#include <dlfcn.h>
#include <sys/types.h>
static void* vmem_symbol(const char* name) {
    return dlsym(dlopen(LIBRARY, RTLD_NOW | RTLD_NOLOAD), name);
}
static void* vmem_allocate(size_t size, int device, void* stream) {
    using Allocate = void* (*)(ssize_t, int, void*);
    static auto call = reinterpret_cast<Allocate>(vmem_symbol("vmem_gpu_torch_pool_allocate"));
    return call(size, device, stream);
}
static void vmem_free(void* ptr, size_t size, int device, void* stream) {
    using Free = void (*)(void*, ssize_t, int, void*);
    static auto call = reinterpret_cast<Free>(vmem_symbol("vmem_gpu_torch_pool_free"));
    call(ptr, size, device, stream);
}
"""


INSTALL = {
    ("cupy", "vmem"): cupy_vmem,
    ("numba", "vmem"): numba_vmem,
    ("rmm", "vmem"): rmm_vmem,
    ("rmm", "upstream"): rmm_upstream,
    ("cuda_core", "vmem"): cuda_core_vmem,
    ("torch", "vmem"): torch_vmem,
    ("torch", "pool"): torch_pool,
}


def blocks_of_vmem():
    """How many blocks vmem has served on device 0, or None where nothing opened it."""
    import vmem_gpu

    try:
        return vmem_gpu.runtime(0).stats().total_blocks
    except vmem_gpu.Error as error:
        return str(error)


def first_line(report):
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:400]


class Plugin:
    def __init__(self):
        self.before, self.around = None, contextlib.nullcontext
        self.reports = {}

    def pytest_sessionstart(self, session):
        if "TESTS" in os.environ and MODE != "native":
            again = INSTALL[SUITE, MODE]()
            if MODE == "pool":
                self.around = again
            else:
                self.before = again

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        if "TESTS" not in os.environ:
            with open(os.environ["IDS"], "w") as file:
                file.writelines(item.nodeid + "\n" for item in items)
            items.clear()
            return
        with open(os.environ["TESTS"]) as file:
            wanted = set(file.read().splitlines())
        items[:] = [item for item in items if item.nodeid in wanted]

    def pytest_collectreport(self, report):
        if report.failed and "TESTS" in os.environ:
            record(test=report.nodeid, outcome="not collected", error=first_line(report))

    def pytest_runtest_logstart(self, nodeid):
        append("STATE", f"begun {nodeid}\n")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item):
        if self.before:
            self.before(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        with self.around(item):
            return (yield)

    def pytest_runtest_logreport(self, report):
        reports = self.reports.setdefault(report.nodeid, {})
        reports[report.when] = report
        if report.when != "teardown":
            return
        del self.reports[report.nodeid]
        worst = next((r for r in reports.values() if r.failed), None)
        line = {"test": report.nodeid, "seconds": round(sum(r.duration for r in reports.values()), 3)}
        if worst:
            line |= {"outcome": "failed" if worst.when == "call" else "error", "error": first_line(worst)}
        else:
            skipped = next((r for r in reports.values() if r.skipped), None)
            line["outcome"] = "passed"
            if skipped:
                line |= {"outcome": "xfailed" if hasattr(skipped, "wasxfail") else "skipped", "error": first_line(skipped)}
        record(**line)
        append("STATE", f"over {report.nodeid}\n")

    def pytest_sessionfinish(self):
        if "TESTS" in os.environ and MODE != "native":
            record(vmem_blocks=blocks_of_vmem())


def pytest_configure(config):
    config.pluginmanager.register(Plugin(), "suites")
    # RMM's tests make any warning an error; vmem's say what it leaves to RMM, and what stays as it was.
    for said in ("rmm.reinitialize.managed_memory=True. is RMM's own", "device . is open in vmem"):
        config.addinivalue_line("filterwarnings", f"ignore:{said}:UserWarning")
