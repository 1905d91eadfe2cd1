"""RMM, and cuDF over it, from vmem.

``install()`` makes a vmem resource the current one of a device, and has ``rmm.reinitialize`` make such resources
from then on. Allocation raises ``MemoryError`` where memory is exhausted, which RMM turns into its
``out_of_memory``; deallocation never raises.
"""

from __future__ import annotations

import functools as _functools
import sys as _sys
import typing as _typing
import warnings as _warnings

import rmm as _rmm
import rmm.rmm as _rmm_rmm
from rmm._cuda import gpu as _gpu

from . import Error, OutOfMemoryError, Runtime, runtime
from . import free as _free
from . import open as _open
from ._native import settings_with as _settings_with

__all__ = ["MemoryResource", "install"]

_UNITS = {"": 1, "B": 1}
_UNITS.update({f"{prefix}B": 1000**power for power, prefix in enumerate("KMGTP", 1)})
_UNITS.update({f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGTP", 1)})


def _bytes_of(size: int | str) -> int:
    """A size as RMM takes it: a number of bytes, or a text such as "10 GiB"."""
    if not isinstance(size, str):
        return int(size)
    text = size.strip().upper().replace(" ", "")
    number = text.rstrip("BIKMGTP")
    try:
        if not number[:1].isdigit():
            raise ValueError
        return int(float(number) * _UNITS[text[len(number) :]])
    except (KeyError, ValueError):
        # "Could not parse" is what RMM says.
        reason = "it is no number of bytes, nor a text such as '10 GiB'"
        raise ValueError(f"Could not parse {size!r}: {reason}") from None


class MemoryResource(_rmm.mr.CallbackMemoryResource):
    """A resource of RMM that allocates from vmem on one device, with the arguments and figures of RMM's pool.

    ``maximum_pool_size`` is the most that vmem holds: the device is opened with it as its limit. If the device
    is open already, a warning says that its own limit stays. There is no initial size: memory is taken as
    it is needed.
    """

    def __init__(
        self,
        upstream: object = None,
        initial_pool_size: int | str | None = None,
        maximum_pool_size: int | str | None = None,
        *,
        device: int = 0,
    ) -> None:
        self._runtime = _opened(device, maximum_pool_size)
        super().__init__(_allocator(self._runtime), _deallocate)

    @property
    def runtime(self) -> Runtime:
        """The device's runtime."""
        return self._runtime

    def pool_size(self) -> int:
        """Bytes held from the device."""
        return self._runtime.stats().reserved or 0


def _opened(device: int, maximum: int | str | None) -> Runtime:
    if maximum is None:
        return runtime(device)
    limit = _bytes_of(maximum)
    if limit <= 0:
        raise ValueError(f"maximum_pool_size is {maximum!r}; it must be above 0")
    try:
        return _open(device, _settings_with("VMEM_POOL_LIMIT", str(limit)))
    except Error as error:
        if error.status != "VMEM_ERROR_ALREADY_OPEN":
            raise
    opened = runtime(device)
    own = opened.stats().limit
    if own != limit:
        _warnings.warn(
            f"device {device} is open in vmem with a limit of {own} B; maximum_pool_size={maximum!r} changes "
            "nothing: set it before the device is opened",
            stacklevel=4,
        )
    return opened


def _handle(stream: _typing.Any) -> int:
    return stream.__cuda_stream__()[1]


def _allocate(opened: Runtime, size: int, stream: _typing.Any) -> int:
    try:
        return opened.allocate_address(size, stream=_handle(stream))
    except OutOfMemoryError as refusal:
        # RMM knows exactly this class, and no subclass.
        raise MemoryError(str(refusal)) from refusal


@_functools.cache
def _allocator(opened: Runtime) -> _typing.Callable[[int, _typing.Any], int]:
    """The function that RMM calls: kept for good, as copies of a resource in C++ outlive the Python object."""
    return _functools.partial(_allocate, opened)


def _deallocate(ptr: int, size: int, stream: _typing.Any) -> None:
    # RMM asks of its callers what vouching promises: the stream exists. Its own pool records an event on it here.
    # It frees in destructors, where an exception ends the process.
    try:
        _free(ptr, _handle(stream), vouched=True)
    except Exception as error:
        if getattr(error, "status", None) != "VMEM_ERROR_FORKED":
            _sys.unraisablehook(_Unraisable(error))


class _Unraisable:
    def __init__(self, error: Exception) -> None:
        self.exc_type = type(error)
        self.exc_value = error
        self.exc_traceback = error.__traceback__
        self.err_msg = "vmem_gpu.rmm did not free a block"
        self.object = _deallocate


def install(
    initial_pool_size: int | str | None = None,
    maximum_pool_size: int | str | None = None,
    *,
    device: int = 0,
) -> MemoryResource:
    """Makes a vmem resource the device's in RMM, and has ``rmm.reinitialize`` make such resources.

    Warns if RMM has a pool on the device: what the pool holds stays with it while memory of it is in use.
    """
    present = _rmm.mr.get_per_device_resource(device)
    if not isinstance(present, (MemoryResource, _rmm.mr.CudaMemoryResource)):
        _warnings.warn(
            f"RMM's resource of device {device} was a {type(present).__name__}: what it holds stays with it "
            "while memory of it is in use; call vmem_gpu.rmm.install() first",
            stacklevel=2,
        )
    resource = MemoryResource(None, initial_pool_size, maximum_pool_size, device=device)
    _rmm.mr.set_per_device_resource(device, resource)
    _rmm.reinitialize = _rmm_rmm.reinitialize = _reinitialize
    return resource


_original_reinitialize = _rmm.reinitialize


@_functools.wraps(_original_reinitialize)
def _reinitialize(
    pool_allocator: bool = False,
    managed_memory: bool = False,
    initial_pool_size: int | str | None = None,
    maximum_pool_size: int | str | None = None,
    devices: int | list[int] | None = 0,
    logging: bool = False,
    log_file_name: str | None = None,
) -> None:
    if managed_memory:
        _warnings.warn("rmm.reinitialize(managed_memory=True) is RMM's own: vmem is not used", stacklevel=2)
        _original_reinitialize(
            pool_allocator, True, initial_pool_size, maximum_pool_size, devices, logging, log_file_name
        )
        return
    # Runs the hooks that were registered, and leaves resources that hold nothing.
    _original_reinitialize(devices=devices)
    numbers = [0] if devices is None else [devices] if isinstance(devices, int) else devices
    maximum = maximum_pool_size if pool_allocator else None
    current = _gpu.getDevice()
    try:
        for device in numbers:
            # RMM wants resources made while their device is current.
            _gpu.setDevice(device)
            resource = MemoryResource(None, initial_pool_size, maximum, device=device)
            if logging:
                resource = _rmm.mr.LoggingResourceAdaptor(resource, log_file_name)
            _rmm.mr.set_per_device_resource(device, resource)
    finally:
        _gpu.setDevice(current)
