"""The programs of the documentation, each in a process of its own. One whose host is not installed is told."""

import pathlib
import re
import subprocess
import sys

from checks import NUMPY_FOR_NUMBA, SKIPPED, check, finish

PAGES = ["docs/python.md", "crates/vmem-python/README.md"]
above = pathlib.Path(__file__).resolve().parents
root = next((folder for folder in above if all((folder / page).exists() for page in PAGES)), None)
if root is None:
    # The programs were taken elsewhere without the repository.
    sys.exit(SKIPPED)


def run(program):
    if "numba" in program:
        program = NUMPY_FOR_NUMBA + program
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)


for page in (root / page for page in PAGES):
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
