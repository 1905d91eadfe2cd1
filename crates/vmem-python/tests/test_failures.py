"""Whatever call of the driver fails is an exception or nothing, and all works afterwards."""

import pytest
import vmem_gpu
from conftest import MIB


def use(driver, stream):
    """Every call of the package that reaches the driver. Returns how many were refused."""
    refused = 0

    def attempt(call, *arguments, **options):
        nonlocal refused
        try:
            return call(*arguments, **options)
        except (vmem_gpu.Error, vmem_gpu.OutOfMemoryError) as error:
            assert error.status.startswith("VMEM_ERROR_") and len(str(error)) > 20
            refused += 1
            return None

    gpu = attempt(vmem_gpu.open, 0, "VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M")
    if gpu is None:
        return refused
    blocks = [attempt(gpu.allocate, size, stream=on) for size, on in ((3 * MIB, stream), (700, 2), (MIB, 0))]
    blocks = [block for block in blocks if block is not None]
    for block in blocks:
        attempt(block.record_use, stream)
    for block in blocks[1:]:
        attempt(block.free)
    del blocks, block
    attempt(gpu.forget_stream, stream)
    attempt(gpu.trim, wait=True)
    attempt(gpu.synchronize)
    attempt(gpu.snapshot)
    attempt(gpu.close)
    return refused


@pytest.mark.parametrize("code", [2, 999])
def test_every_call_of_the_driver_fails_in_turn(driver, code, monkeypatch):
    import sys

    # A block's last reference may go while the driver fails: that is reported, and not raised.
    monkeypatch.setattr(sys, "unraisablehook", lambda what: None)
    most = 500
    for nth in range(1, most):
        stream = driver.create_stream()
        driver.control(f"fail {nth} {code}")
        use(driver, stream)
        fired = driver.control("fired")
        driver.control("clear")
        try:
            vmem_gpu.runtime(0).close()
        except vmem_gpu.Error as error:
            pytest.fail(f"after {fired}, call {nth}, answered {code}: {error}")
        driver.destroy_stream(stream)
        if not fired:
            break
    assert 20 < nth < most - 1
