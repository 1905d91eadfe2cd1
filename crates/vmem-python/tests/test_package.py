"""The package as it is installed."""

import ast
import ctypes
import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
import vmem_gpu
import vmem_gpu._native

README = pathlib.Path(__file__).parent.parent / "README.md"


def declared():
    header = pathlib.Path(vmem_gpu.get_include(), "vmem.h").read_text()
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    functions = set(re.findall(r"\b(vmem_[a-z_]+)\(", code))
    assert "vmem_allocate" in functions
    return functions


def test_the_extension_exports_every_function_of_the_header():
    nm = shutil.which("nm")
    if nm is None:
        pytest.skip("no nm")
    lines = subprocess.check_output([nm, "-D", "--defined-only", vmem_gpu.get_library()], text=True)
    exported = {line.split()[-1] for line in lines.splitlines() if " T " in line}
    assert declared() <= exported
    ours = {name for name in exported if name.startswith("vmem_")} - declared()
    assert ours == {
        "vmem_register_of_copy",
        "vmem_gpu_torch_free",
        "vmem_gpu_torch_pool_allocate",
        "vmem_gpu_torch_pool_free",
        "vmem_gpu_torch_try_allocate",
        "vmem_gpu_torch_try_set_fraction",
    }


def test_the_library_that_is_named_is_the_one_that_python_uses(gpu):
    library = ctypes.CDLL(vmem_gpu.get_library())
    ptr = ctypes.c_void_p()
    assert library.vmem_allocate(ctypes.c_uint64(1000), ctypes.c_uint64(0), 0, None, None, ctypes.byref(ptr)) == 0
    assert vmem_gpu.find_block(ptr.value + 10)[:3] == (ptr.value, 1000, 0)
    vmem_gpu.free(ptr.value)


def test_a_second_copy_that_opens_the_device_is_refused_with_both_paths(gpu, tmp_path):
    other = tmp_path / "libother.so"
    shutil.copy(vmem_gpu.get_library(), other)
    library = ctypes.CDLL(str(other))
    library.vmem_last_error.restype = ctypes.c_char_p
    assert library.vmem_open(0, None) != 0
    text = library.vmem_last_error().decode()
    assert vmem_gpu.get_library() in text and str(other.resolve()) in text


def test_without_a_driver_the_package_imports_and_says_why():
    program = (
        "import vmem_gpu; usable = vmem_gpu.available(); assert not usable; print(usable)\n"
        "try: vmem_gpu.runtime(0)\n"
        "except vmem_gpu.Error as error: print(error.status)"
    )
    environment = {**os.environ, "LD_LIBRARY_PATH": ""}
    if os.path.exists("/usr/lib/x86_64-linux-gnu/libcuda.so.1"):
        pytest.skip("the machine has a driver")
    said = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert "there is no CUDA driver" in said and said.endswith("VMEM_ERROR_NO_DRIVER\n")


def test_without_a_device_it_says_so(child):
    program = "import vmem_gpu; usable = vmem_gpu.available(); print(bool(usable), usable.devices, usable)"
    assert child(program, VMEM_SIM_DRIVER_DEVICES="0").startswith("False 0 ")


def test_the_program_of_the_readme_runs(child):
    program = README.read_text().split("```python\n")[1].split("```")[0]
    assert child(program).startswith("16777216 bytes at 0x")


class Stubs:
    """What the type stubs of the extension say."""

    def __init__(self):
        path = pathlib.Path(vmem_gpu.__file__).with_name("_native.pyi")
        self.nodes = {node.name: node for node in ast.parse(path.read_text()).body if hasattr(node, "name")}

    def methods(self, name):
        """A class's, those of the stubs' own base classes too."""
        own = {item.name: item for item in self.nodes[name].body if isinstance(item, ast.FunctionDef)}
        bases = [base.id for base in self.nodes[name].bases if getattr(base, "id", "") in self.nodes]
        return {key: item for base in bases for key, item in self.methods(base).items()} | own


def parameters_of_stub(node):
    """Names and kinds, and which may be left out."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    named = [(item.arg, "", index >= required) for index, item in enumerate(positional)]
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    named += [(item.arg, "keyword", default is not None) for item, default in keywords]
    return [item for item in named if item[0] not in ("self", "cls")]


def parameters_of(function):
    kinds = {inspect.Parameter.KEYWORD_ONLY: "keyword"}
    found = inspect.signature(function).parameters.values()
    return [
        (item.name, kinds.get(item.kind, ""), item.default is not item.empty)
        for item in found
        if item.name not in ("self", "cls")
    ]


def test_the_type_stubs_have_what_the_module_has():
    native, stubs = vmem_gpu._native, Stubs()
    stated = {name for name in stubs.nodes if not name.startswith("_")}
    public = {name for name in vars(native) if not name.startswith("_")}
    assert stated == public - {"UNKNOWN"} | {"Recording"}
    for name, node in stubs.nodes.items():
        real = getattr(native, name, None)
        if isinstance(node, ast.FunctionDef):
            assert parameters_of_stub(node) == parameters_of(real), name
        elif real is not None and not issubclass(real, Exception):
            methods = stubs.methods(name)
            assert {key for key in methods if key[:2] != "__"} == {key for key in vars(real) if key[:2] != "__"}
            for key, method in methods.items():
                if key == "__new__":
                    assert parameters_of_stub(method) == parameters_of(real), name
                elif not method.decorator_list and not key.startswith("__"):
                    assert parameters_of_stub(method) == parameters_of(getattr(real, key)), (name, key)
