"""The programs of the documentation, each in a process of its own. One whose host is not installed is told."""

import pathlib
import re
import subprocess
import sys

from checks import NUMPY_FOR_NUMBA, check, finish

ROOT = pathlib.Path(__file__).resolve().parents[4]
PAGES = [ROOT / "docs" / "python.md", ROOT / "crates" / "vmem-python" / "README.md"]


def run(program):
    if "numba" in program:
        program = NUMPY_FOR_NUMBA + program
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)


for page in PAGES:
    for number, part in enumerate(page.read_text().split("```python\n")[1:], 1):
        program = part.split("```")[0]
        imports = re.findall(r"^(?:import|from) (?!vmem_gpu).*\n", program, re.MULTILINE)
        with check(f"program {number} of {page.name}: {' '.join(imports).strip() or 'no host'}") as seen:
            imported = run("".join(imports))
            if imported.returncode != 0:
                seen["skipped"] = imported.stderr.strip().splitlines()[-1]
                continue
            done = run(program)
            seen["said"] = done.stdout.strip()[-300:]
            assert done.returncode == 0 and done.stdout, done.stderr[-500:]

finish()
