"""vmem called from Rust: rows of the program `vmem` or `vmem-lab` on the same traces.

Its times have no Python in them and compare with no other row's. Its bytes do.
"""

import json
import subprocess
import tempfile
from pathlib import Path

# Tier A, its pool with the lazy footprint, and tier B.
TIERS = "a,a-bare,b"


def rows(path, workload, arguments):
    """The rows of a trace's file, named `rust-` and the stack; one that is broken if nothing ran."""
    with tempfile.TemporaryDirectory() as folder:
        document = Path(folder) / "rows.json"
        command = [arguments.program, "replay", "--device", f"cuda:{arguments.device}",
                   "--require-device", "--tier", arguments.tier, "--json", str(document), path]
        if arguments.limit is not None:
            command += ["--capacity", str(arguments.limit)]
        found, how = _run(command, document, arguments.timeout)
    if not found:
        return [{"workload": workload, "tier": "rust", "passed": False, "broken": True, "failure": how}]
    for row in found:
        row["workload"], row["tier"] = workload, f"rust-{row['tier']}"
        if not row["passed"]:
            row["failure"] = how
    return found


def _run(command, document, timeout):
    """The rows that the program wrote, and how it ended."""
    try:
        done = subprocess.run(command, timeout=timeout, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True, errors="replace")
    except subprocess.TimeoutExpired:
        return [], f"it took over {timeout:.0f} s"
    except OSError as error:
        return [], f"the program did not start: {error}"
    said = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
    try:
        found = json.loads(document.read_text())["rows"]
    except (OSError, ValueError):
        found = []
    return found, f"the program ended with {done.returncode}: {said[-1]}"
