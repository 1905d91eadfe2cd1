"""As much of PyTorch as the adaptor touches, with the signatures and rules of PyTorch 2.11
(``torch/cuda/memory.py``, ``torch/csrc/cuda``). Its C++ is compiled by ``build``, into a folder of the test's."""

import ctypes
import pathlib
import shutil
import subprocess

from . import _C, cuda, version

__version__ = "2.11.0+stand.in"
__all__ = ["OutOfMemoryError", "cuda", "version"]

OutOfMemoryError = cuda.memory.OutOfMemoryError


def build(folder: pathlib.Path, compiler: str) -> None:
    """Lays the headers and libraries out as PyTorch's package has them, unless they are there, and takes them for
    its own."""
    global __file__
    own = pathlib.Path(__file__).parent
    library = folder / "lib" / "libtorch_stand_in.so"
    if not library.exists():
        shutil.copytree(own / "include", folder / "include")
        (folder / "lib").mkdir()
        empty = folder / "empty.cpp"
        empty.touch()
        flags = ["-std=c++17", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
        subprocess.run([compiler, *flags, empty, "-o", folder / "lib" / "libc10.so"], check=True)
        source = own / "csrc" / "pluggable.cpp"
        subprocess.run([compiler, *flags, "-I", folder / "include", source, "-o", library], check=True)
    __file__ = str(folder / "__init__.py")
    _C.library = ctypes.CDLL(str(library))
    _C.library_with_lock = ctypes.PyDLL(str(library))
