from . import mr
from ._cuda import gpu

_reinitialize_hooks = []


def register_reinitialize_hook(func, *args, **kwargs):
    _reinitialize_hooks.append((func, args, kwargs))
    return func


def reinitialize(
    pool_allocator=False,
    managed_memory=False,
    initial_pool_size=None,
    maximum_pool_size=None,
    devices=0,
    logging=False,
    log_file_name=None,
):
    for func, args, kwargs in reversed(_reinitialize_hooks):
        func(*args, **kwargs)
    mr._per_device_mrs.clear()
    for device in [0] if devices is None else [devices] if isinstance(devices, int) else devices:
        upstream = mr.ManagedMemoryResource() if managed_memory else mr.CudaMemoryResource()
        mr.set_per_device_resource(device, mr.PoolMemoryResource(upstream) if pool_allocator else upstream)
    gpu.setDevice(0)
