"""Every function of ``vmem.h`` by ctypes, from the library that the package names."""

import ctypes as c

import vmem_gpu
from conftest import MIB
from test_package import declared


class Sized(c.Structure):
    """A struct of C that begins with its size, and has room for any of the header's."""

    _fields_ = [("struct_size", c.c_size_t), ("words", c.c_uint64 * 15)]

    def __init__(self, size=c.sizeof(c.c_size_t) + 15 * 8):
        super().__init__(struct_size=size)


def test_every_function_of_the_header_can_be_called(driver, tmp_path):
    library = c.CDLL(vmem_gpu.get_library())
    for name in ("vmem_last_error", "vmem_last_error_json", "vmem_status_name", "vmem_version"):
        getattr(library, name).restype = c.c_char_p
    called = set()

    def call(name, *arguments):
        called.add(name)
        return getattr(library, name)(*arguments)

    def done(name, *arguments):
        status = call(name, *arguments)
        assert status == 0, (name, call("vmem_status_name", status), call("vmem_last_error"))

    pressure_type = c.CFUNCTYPE(c.c_uint64, c.c_void_p, c.c_int32, c.c_uint64)
    write_type = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(c.c_char), c.c_size_t)
    pieces, asked, number, count = [], [], c.c_uint64(), c.c_int32()
    pressure = pressure_type(lambda arg, device, wanted: asked.append(wanted) or 0)
    write = write_type(lambda arg, text, size: pieces.append(text[:size]) or 0)

    assert call("vmem_abi_version") == 1
    assert call("vmem_version").decode() == vmem_gpu.__version__
    done("vmem_device_count", c.byref(count))
    assert count.value == 1
    config = Sized(40)
    text = c.create_string_buffer(b"VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT=64M")
    config.words[1] = c.addressof(text)
    done("vmem_open", 0, c.byref(config))
    done("vmem_set_pressure_callback", 0, pressure, None, None)
    done("vmem_start_recording", 0, str(tmp_path / "c.trace").encode())

    stream = c.c_void_p(driver.create_stream())
    done("vmem_hold_stream", 0, stream)
    blocks = [c.c_void_p() for _ in range(2)]
    for block in blocks:
        done("vmem_allocate", c.c_uint64(1000), c.c_uint64(0), 0, stream, b"tag", c.byref(block))
    none = c.c_void_p()
    assert call("vmem_allocate", c.c_uint64(65 * MIB), c.c_uint64(0), 0, stream, None, c.byref(none)) != 0
    assert none.value is None and b"vmem_allocate" in call("vmem_last_error")
    assert call("vmem_last_error_json").startswith(b"{")
    assert call("vmem_status_name", 3) == b"VMEM_ERROR_LIMIT"
    done("vmem_record_use", blocks[0], None)
    done("vmem_use_until_free", blocks[0], stream)
    done("vmem_usable_size", blocks[0], c.byref(number))
    assert number.value == 1000
    found = Sized()
    done("vmem_find_block", c.c_void_p(blocks[0].value + 999), c.byref(found))
    assert tuple(found.words[:2]) == (blocks[0].value, 1000)
    stats, usage = Sized(), Sized()
    done("vmem_get_stats", 0, c.byref(stats))
    done("vmem_get_tag_usage", 0, b"tag", c.byref(usage))
    assert stats.words[0] == usage.words[0] == 2000
    moved, residence = Sized(), Sized()
    done("vmem_fill_host_reserve", 0, c.c_uint64(2 * MIB))
    done("vmem_sleep", 0, None, 0, c.byref(moved))
    assert moved.words[0] > 0 and moved.words[2] == 0
    done("vmem_get_residence", blocks[0], c.byref(residence))
    assert residence.words[1] == 1024
    done("vmem_wake", 0, None, 0, c.byref(moved))
    done("vmem_free", blocks[0], stream)
    done("vmem_free_vouched", blocks[1], stream)
    done("vmem_stop_recording", 0, c.byref(number))
    assert number.value >= 4
    done("vmem_reset_peaks", 0)
    done("vmem_forget_stream", 0, stream)
    driver.destroy_stream(stream.value)
    done("vmem_trim", 0, c.byref(number))
    done("vmem_wait_and_trim", 0, c.byref(number))
    done("vmem_synchronize", 0)
    done("vmem_snapshot", 0, write, None)
    assert b"".join(pieces).startswith(b"{")
    done("vmem_close", 0)
    assert called == declared()
    assert driver.control("violations") == ""
