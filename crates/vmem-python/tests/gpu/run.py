"""Checks of vmem_gpu under the real hosts, on a machine with a GPU.

    PYTHONPATH=<unpacked wheel> python3 tests/gpu/run.py [NAME…]

Each program runs in a process of its own. A line of JSON for each check, then one for each program and a summary;
the exit status is 1 if a check failed, a program died, or a program that was named could not run. Programs whose
host is not installed are skipped, by name. ``cargo xtask python`` does not run these.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
PROGRAMS = {
    "cupy": {},
    "rmm": {},
    "numba": {"NUMBA_CUDA_MEMORY_MANAGER": "vmem_gpu.numba"},
    "cuda_core": {},
    "torch_global": {},
    "torch_pool": {},
    "pages": {},
    "dead_stream": {},
}
SKIPPED = 77
LIMIT_S = 240


def run(name: str, settings: dict[str, str]) -> str:
    """Runs a program, prints what it says, and returns "ok", "failed" or "skipped"."""
    program = HERE / f"on_{name}.py"
    begun = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(program)],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as late:
        # What came so far may be bytes, or nothing.
        status, out, err = "no end", *(
            said.decode(errors="replace") if isinstance(said, bytes) else said or ""
            for said in (late.stdout, late.stderr)
        )
    lines = [line for line in out.splitlines() if line.startswith("{")]
    print(*lines, sep="\n", end="\n" if lines else "", flush=True)
    checks = [json.loads(line) for line in lines]
    failed = [check["check"] for check in checks if not check["ok"]]
    if status == SKIPPED:
        outcome = "skipped"
    elif status == 0 and checks and not failed:
        outcome = "ok"
    else:
        outcome = "failed"
    said = err.strip().splitlines()[-12:]
    summary = {
        "program": name,
        "outcome": outcome,
        "status": status,
        "checks": len(checks),
        "failed": failed,
        "seconds": round(time.monotonic() - begun, 1),
        "stderr": said,
    }
    print(json.dumps(summary), flush=True)
    return outcome


def main() -> int:
    named = sys.argv[1:]
    unknown = set(named) - set(PROGRAMS)
    if unknown:
        sys.exit(f"{sorted(unknown)}: the programs are {', '.join(PROGRAMS)}")
    outcomes = {name: run(name, PROGRAMS[name]) for name in named or PROGRAMS}
    bad = [
        name
        for name, outcome in outcomes.items()
        if outcome == "failed" or (outcome == "skipped" and name in named)
    ]
    print(json.dumps({"summary": outcomes, "ok": not bad}))
    return int(bool(bad) or "ok" not in outcomes.values())


if __name__ == "__main__":
    sys.exit(main())
