"""What the programs for GPUs share."""

import contextlib
import importlib
import json
import sys
import traceback

SKIPPED = 77
MIB = 1 << 20
LIMIT = 4096 * MIB
SETTINGS = f"VMEM_OOM_SAFETY=1 VMEM_POOL_LIMIT={LIMIT}"

# numba-cuda 0.30 names what NumPy 2.5 has no more.
NUMPY_FOR_NUMBA = "import numpy\nnumpy.row_stack = numpy.vstack\n"

_failed = []


def host(name):
    """Imports a host, or ends the program as skipped."""
    try:
        return importlib.import_module(name)
    except Exception as error:
        # Also one that does not go with what else is installed, which is said in other ways than ImportError.
        line = {"check": f"import {name}", "ok": True, "skipped": f"{type(error).__name__}: {error}"}
        print(json.dumps(line))
        sys.exit(SKIPPED)


@contextlib.contextmanager
def check(name):
    """A check: it fails if its body raises. The body may put what it saw into the dict."""
    seen = {}
    line = {"program": sys.argv[0].rpartition("/")[2], "check": name}
    try:
        yield seen
    except Exception as error:
        _failed.append(name)
        where = traceback.extract_tb(error.__traceback__)[-1]
        line |= {"ok": False, "error": f"{type(error).__name__}: {error}"[:600], "line": where.lineno}
        line["file"] = where.filename
    else:
        line["ok"] = True
    if seen:
        line["seen"] = seen
    print(json.dumps(line, default=str), flush=True)


def raises(expected, call):
    """The error that a call raises, which is of exactly the class."""
    try:
        call()
    except Exception as error:
        assert type(error) is expected, f"{type(error).__module__}.{type(error).__name__}: {error}"
        # Its traceback would keep what the call made.
        return error.with_traceback(None)
    raise AssertionError("nothing was raised")


def finish():
    """Ends the program as the checks came out."""
    if _failed:
        sys.exit(1)
