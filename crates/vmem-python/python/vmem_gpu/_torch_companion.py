"""The library that throws PyTorch's own out-of-memory error: compiled once for a version of PyTorch, and kept."""

from __future__ import annotations

import ctypes as _ctypes
import hashlib as _hashlib
import os as _os
import pathlib as _pathlib
import platform as _platform
import shlex as _shlex
import shutil as _shutil
import subprocess as _subprocess
import tempfile as _tempfile

import torch as _torch

SOURCE = _pathlib.Path(__file__).with_name("_torch_companion.cpp")
PLATFORM = f"{_platform.system()} {_platform.machine()}"


class CompanionError(RuntimeError):
    """Why the library cannot be had: no compiler, no headers of PyTorch's, or what the compiler said."""


def _compiler() -> list[str]:
    named = _os.environ.get("CXX")
    if named:
        return _shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        found = _shutil.which(name)
        if found:
            return [found]
    raise CompanionError("there is no C++ compiler: no c++, g++ or clang++ on PATH, and CXX names none")


def _command() -> list[str]:
    """The compiler's command, but for the file that it writes."""
    root = _pathlib.Path(_torch.__file__).parent
    include = root / "include"
    if not (include / "c10" / "util" / "Exception.h").exists():
        raise CompanionError(f"PyTorch has no headers in {include}")
    abi = int(getattr(_torch._C, "_GLIBCXX_USE_CXX11_ABI", True))
    return [
        *_compiler(),
        *("-std=c++20", "-O1", "-fPIC", "-shared"),
        f"-D_GLIBCXX_USE_CXX11_ABI={abi}",
        # Its headers warn.
        "-w",
        *("-isystem", str(include)),
        str(SOURCE),
        *("-L", str(root / "lib"), "-lc10"),
    ]


def _folder() -> _pathlib.Path:
    cache = _os.environ.get("XDG_CACHE_HOME") or _os.path.expanduser("~/.cache")
    return _pathlib.Path(cache) / "vmem_gpu"


def _compile(target: _pathlib.Path, command: list[str]) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Other processes may compile it too: whoever ends last replaces a whole file by a whole file.
        handle, name = _tempfile.mkstemp(suffix=".so", dir=target.parent)
    except OSError as error:
        raise CompanionError(f"nothing can be written to {target.parent}: {error}") from error
    _os.close(handle)
    try:
        try:
            done = _subprocess.run(
                [*command, "-o", name], stdin=_subprocess.DEVNULL, capture_output=True, text=True
            )
        except OSError as error:
            raise CompanionError(f"{command[0]} did not start: {error}") from error
        if done.returncode != 0:
            raise CompanionError(f"{_shlex.join(command)} failed:\n{done.stderr.strip()}")
        _os.replace(name, target)
    finally:
        if _os.path.exists(name):
            _os.unlink(name)


def load(try_allocate: int) -> int:
    """The address of the function that allocates for PyTorch and throws its error, by way of the one whose
    address is given. Raises ``CompanionError``."""
    command = _command()
    version = [_torch.__version__, str(getattr(_torch.version, "git_version", "")), PLATFORM, *command]
    key = _hashlib.sha256("\0".join([*version, SOURCE.read_text()]).encode()).hexdigest()[:16]
    target = _folder() / f"torch-{_torch.__version__}-{key}.so"
    if not target.exists():
        _compile(target, command)
    try:
        library = _ctypes.CDLL(str(target))
    except OSError as error:
        raise CompanionError(f"{target} cannot be loaded: {error}") from error
    library.vmem_gpu_torch_companion_bind(_ctypes.c_void_p(try_allocate))
    address = _ctypes.cast(library.vmem_gpu_torch_companion_allocate, _ctypes.c_void_p).value
    assert address is not None
    return address
