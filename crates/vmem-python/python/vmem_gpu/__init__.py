"""GPU memory in stream order.

``open`` or ``runtime`` gives a device's ``Runtime``. ``vmem_gpu.cupy``, ``vmem_gpu.rmm``, ``vmem_gpu.numba``,
``vmem_gpu.cuda_core`` and ``vmem_gpu.torch`` have those libraries allocate from it. All of them, and C++
programs that load ``get_library()``, use one copy of the library.
"""

from __future__ import annotations

import dataclasses as _dataclasses
import os as _os

from . import _native
from ._native import (
    Allocation,
    Error,
    OutOfMemoryError,
    Runtime,
    Stats,
    Usage,
    __version__,
    device_count,
    find_block,
    free,
    label,
    open,
    record_use,
    runtime,
)

__all__ = [
    "Allocation",
    "Availability",
    "Error",
    "OutOfMemoryError",
    "Runtime",
    "Stats",
    "Usage",
    "__version__",
    "available",
    "device_count",
    "find_block",
    "free",
    "get_include",
    "get_library",
    "label",
    "open",
    "record_use",
    "runtime",
]


@_dataclasses.dataclass(frozen=True)
class Availability:
    """Whether there is a GPU to use: true or false, how many devices there are, and why there are none."""

    devices: int
    reason: str | None

    def __bool__(self) -> bool:
        return self.devices > 0

    def __str__(self) -> str:
        return self.reason or f"{self.devices} device(s)"


def available() -> Availability:
    """Whether the machine has a CUDA driver that vmem can use, and a device. Opens none."""
    try:
        devices = device_count()
    except Error as error:
        return Availability(0, str(error))
    return Availability(devices, None if devices else "the CUDA driver sees no device")


def get_library() -> str:
    """The path of the shared library that has vmem's C ABI: the one that this package itself uses."""
    return _os.path.realpath(_native.__file__)


def get_include() -> str:
    """The folder of ``vmem.h`` and ``vmem_rmm.hpp``."""
    return _os.path.join(_os.path.dirname(_os.path.abspath(__file__)), "include")
