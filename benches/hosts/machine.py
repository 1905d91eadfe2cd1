"""What a record says of the run that appends to it: when, on which device and driver, with which packages."""
import datetime
import importlib.metadata
import json
import platform
import subprocess

PACKAGES = ("vmem-gpu", "numpy", "cupy-cuda13x", "cupy-cuda12x", "cupy", "rmm-cu13", "numba-cuda", "numba", "cuda-core",
            "cuda-cccl", "torch", "torchvision", "shapely", "pytest")


def about():
    """As a dictionary; what cannot be found out is left out."""
    found = {"when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
             "python": platform.python_version(), "packages": {}}
    for name in PACKAGES:
        try:
            found["packages"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    try:
        asked = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        found["devices"] = subprocess.check_output(asked, text=True, timeout=60).split("\n")[:-1]
    except (OSError, subprocess.SubprocessError):
        pass
    return found


def append(record):
    """Says so in a record of lines of JSON. A line that was cut short before stays one of its own."""
    with open(record, "a+b") as file:
        cut = file.tell() and (file.seek(-1, 2), file.read())[1] != b"\n"
        file.write((b"\n" if cut else b"") + json.dumps({"machine": about()}).encode() + b"\n")
