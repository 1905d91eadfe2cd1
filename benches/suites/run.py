#!/usr/bin/env python3
"""Runs test suites of others as they are and with vmem, and writes one line of JSON for each test and mode.

  python3 run.py cupy --tests DIR --record FILE [--limit 540] [--jobs 16] [--left EARLIER] [--only PART] [--skip PART]

A process has some tests of one file. Its modes follow each other, so that the second finds the kernels that the
first compiled, and what is recorded when time runs out has both. A test that says nothing for --silent seconds is
killed and recorded as such, one that ends its process too; the tests after it run in a new process. What was not
run when --limit seconds were over is recorded as that, and --left runs it later. `compare.py` reads the records.

DIR has the suites' files: README.md says from where.
"""
import argparse
import collections
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

from compare import NOT_RUN, lines

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hosts"))
import machine  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent

# pytest's: all passed, some failed, none were found.
ENDS = {0, 1, 5}

# root: below --tests. paths: below root, or a package. slow: which tests are left out. per: tests a process has.
SUITES = {
    "cupy": {
        "root": "cupy",
        "paths": [f"tests/cupy_tests/{part}_tests" for part in ("core", "cuda", "creation", "fft", "linalg", "random")],
        "python": ["tests"],
        "args": ["-m", "not slow and not multi_gpu"],
        "modes": ["native", "vmem"],
        "per": 50,
    },
    "numba": {
        "root": "numba",
        "package": "numba_cuda.numba.cuda.tests",
        "python": ["."],
        "args": ["-c", "pytest.ini", "--rootdir", "{package}", "-p", "numba_conftest", "--benchmark-disable"],
        "modes": ["native", "vmem"],
        "vmem": {"NUMBA_CUDA_MEMORY_MANAGER": "vmem_gpu.numba"},
        # Classes of Numba's tests hold the context from test to test.
        "per": 1000,
    },
    "rmm": {"root": "rmm", "paths": ["tests"], "modes": ["native", "vmem", "upstream"], "per": 1000},
    "cuda_core": {
        "root": "cuda_core/cuda_core/tests",
        "paths": ["test_memory.py", "memory", "test_device.py", "test_launcher.py", "test_utils.py", "graph"],
        "python": ["."],
        "modes": ["native", "vmem"],
        "per": 1000,
    },
    "torch": {
        "root": "torch",
        "paths": ["test"],
        "args": ["-k", "TestMemPool or graph or stream or event"],
        "modes": ["native", "vmem", "pool"],
        "per": 8,
    },
}


class Runner:
    def __init__(self, name, options):
        self.name, self.suite, self.options = name, SUITES[name], options
        self.root = pathlib.Path(options.tests, self.suite["root"]).resolve()
        os.makedirs(options.logs, exist_ok=True)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=options.logs)).resolve()
        self.record = os.path.abspath(options.record)
        self.deadline = time.monotonic() + options.limit
        self.over, self.lock = threading.Event(), threading.Lock()
        self.running, self.numbers = set(), iter(range(1 << 30))

    def package(self):
        """The folder of the package whose tests are run."""
        top, _, below = self.suite["package"].partition(".")
        spec = importlib.util.find_spec(top)
        return pathlib.Path(spec.submodule_search_locations[0], *below.split("."))

    def files(self):
        if "package" in self.suite:
            start = [self.package()]
        else:
            start = [self.root / path for path in self.suite["paths"]]
        found = []
        for path in start:
            found += [path] if path.is_file() else sorted(path.rglob("test_*.py"))
        options = self.options
        found = [f for f in found if not options.only or any(part in str(f) for part in options.only)]
        return [f for f in found if not any(part in str(f) for part in options.skip)]

    def pytest(self, mode, file, extra):
        """Starts pytest on one file."""
        environ = dict(os.environ, SUITE=self.name, MODE=mode, RECORD=self.record, **extra)
        path = [str(HERE)] + [str(self.root / p) for p in self.suite.get("python", [])]
        environ["PYTHONPATH"] = os.pathsep.join(path + [p for p in [os.environ.get("PYTHONPATH")] if p])
        # PyTorch builds extensions of one name in one folder: a process has its own.
        environ["TORCH_EXTENSIONS_DIR"] = str(self.scratch / f"extensions.{next(self.numbers)}")
        if mode != "native":
            environ.update(self.suite.get("vmem", {}))
        command = [sys.executable, "-m", "pytest", "-q", "-p", "plugin", "-p", "no:cacheprovider", "--tb=short"]
        args = self.suite.get("args", [])
        command += [str(self.package()) if arg == "{package}" else arg for arg in args] + [str(file)]
        log = open(self.scratch / f"{mode}.{next(self.numbers)}.log", "wb")
        with self.lock:
            if self.over.is_set():
                return None, log
            process = subprocess.Popen(
                command, cwd=self.root, env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
            self.running.add(process)
        return process, log

    def end(self, process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
        self.running.discard(process)

    def write(self, **line):
        with self.lock, open(self.record, "a") as file:
            file.write(json.dumps({"suite": self.name} | line) + "\n")

    def collect(self, file):
        """The ids of a file's tests."""
        ids = self.scratch / f"{next(self.numbers)}.ids"
        process, log = self.pytest("native", file, {"IDS": str(ids)})
        if process is None:
            return []
        try:
            process.wait(timeout=self.options.silent)
        except subprocess.TimeoutExpired:
            pass
        self.end(process)
        found = ids.read_text().splitlines() if ids.exists() else []
        if not found and process.returncode not in (0, 5):
            self.write(mode="native", test=str(file), outcome="not collected", error=last_lines(log.name))
        return found

    def run(self, mode, file, tests):
        """Runs tests of one file, in a new process after each that was killed or ended its own."""
        left = list(tests)
        while left and not self.over.is_set():
            number = next(self.numbers)
            wanted, state = self.scratch / f"{number}.tests", self.scratch / f"{number}.state"
            wanted.write_text("\n".join(left))
            state.touch()
            process, log = self.pytest(mode, file, {"TESTS": str(wanted), "STATE": str(state)})
            if process is None:
                break
            silent = self.wait(process, state)
            self.end(process)
            begun, over = read_state(state)
            left = [test for test in left if test not in over]
            hung = [test for test in begun if test not in over]
            if self.over.is_set():
                break
            if hung:
                how = "silent" if silent else f"ended its process ({process.returncode})"
                self.write(mode=mode, test=hung[-1], outcome=how, error=last_lines(log.name))
                left.remove(hung[-1])
            elif process.returncode not in ENDS:
                # Before its first test or after its last one.
                self.write(mode=mode, file=str(file), ended=process.returncode, error=last_lines(log.name))
            if left and not hung:
                # Nothing had begun, or pytest found fewer than it was asked for.
                error = last_lines(log.name)
                for test in left:
                    self.write(mode=mode, test=test, outcome="not started", error=error)
                left = []
        for test in left:
            self.write(mode=mode, test=test, outcome=NOT_RUN)

    def wait(self, process, state):
        """Waits for a process; true if it said nothing for too long."""
        while process.poll() is None and not self.over.is_set():
            if time.time() - state.stat().st_mtime > self.options.silent:
                return True
            time.sleep(0.2)
        return False

    def modes(self, file, tests):
        for mode in self.options.modes or self.suite["modes"]:
            self.run(mode, file, tests)

    def tests_of(self):
        """The version that the tests are of, which fetch.sh wrote."""
        file = pathlib.Path(self.options.tests, self.name, "VERSION")
        return file.read_text().strip() if file.exists() else None

    def ran(self):
        """The tests of an earlier record that came to an end in every mode."""
        ends = collections.defaultdict(set)
        if self.options.left:
            for line in lines(self.options.left):
                if line["suite"] == self.name and line.get("outcome", NOT_RUN) != NOT_RUN:
                    ends[line["test"]].add(line["mode"])
        modes = set(self.options.modes or self.suite["modes"])
        return {test for test, ended in ends.items() if modes <= ended}

    def stop(self, *_):
        self.over.set()
        with self.lock:
            for process in list(self.running):
                try:
                    os.killpg(process.pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass

    def main(self):
        signal.signal(signal.SIGTERM, self.stop)
        with open(self.record, "a+b") as file:
            # What was cut is a line for itself.
            if file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n":
                file.write(b"\n")
        watch = threading.Timer(self.options.limit, self.stop)
        watch.daemon = True
        watch.start()
        files = self.files()
        with concurrent.futures.ThreadPoolExecutor(self.options.jobs) as pool:
            found = dict(zip(files, pool.map(self.collect, files)))
            if self.options.collect:
                for file, ids in found.items():
                    print(f"{len(ids):6} {file}")
                return
            ran = self.ran()
            found = {file: [test for test in ids if test not in ran] for file, ids in found.items()}
            if any(found.values()):
                self.write(mode="native", modes=self.options.modes or self.suite["modes"],
                           machine=machine.about(), tests_of=self.tests_of())
            per = self.suite["per"]
            parts = [(f, ids[i : i + per]) for f, ids in found.items() for i in range(0, len(ids), per)]
            # Large ones first, so that none is alone at the end.
            parts.sort(key=lambda part: -len(part[1]))
            list(pool.map(lambda part: self.modes(*part), parts))
        watch.cancel()
        self.summary(found)

    def summary(self, found):
        counts = collections.Counter()
        for line in lines(self.record):
            if line["suite"] == self.name and "outcome" in line:
                counts[line["mode"], line["outcome"]] += 1
            elif line["suite"] == self.name and "ended" in line:
                counts[line["mode"], "ended badly"] += 1
        print(f"{self.name}: {sum(map(len, found.values()))} tests of {len(found)} files")
        for (mode, outcome), count in sorted(counts.items()):
            print(f"  {mode:8} {outcome:24} {count}")
        print(f"  logs in {self.scratch}")


def read_state(state):
    begun, over = [], set()
    for line in state.read_text(errors="replace").splitlines():
        what, _, test = line.partition(" ")
        if what == "begun":
            begun.append(test)
        else:
            over.add(test)
    return begun, over


def last_lines(log, count=3):
    """What a process that ended said: the interpreter's word of a crash, or the last lines."""
    with open(log, errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    fatal = next((i for i, line in enumerate(lines) if "Fatal Python error" in line), None)
    error = next((line for line in lines if line.startswith("E  ")), None)
    if fatal is not None:
        said = lines[fatal][lines[fatal].index("Fatal") :]
        lines = [said] + [line for line in lines[fatal:] if line.startswith("File ")][:count]
        count += 1
    elif error:
        return error[1:].strip()[:400]
    return " | ".join(lines[-count:])[:400]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=SUITES)
    parser.add_argument("--tests", required=True, help="the folder of the suites' files")
    parser.add_argument("--record", required=True, help="lines are appended to this file")
    parser.add_argument("--limit", type=float, default=540, help="seconds for all")
    parser.add_argument("--silent", type=float, default=90, help="seconds for a test")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--modes", type=lambda text: text.split(","))
    parser.add_argument("--left", help="an earlier record: runs only what that did not come to")
    parser.add_argument("--logs", default="logs", help="what the processes print, in a folder of this one for each run")
    parser.add_argument("--collect", action="store_true", help="say how many tests each file has, and run none")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], help="files whose paths have a part")
    parser.add_argument("--skip", type=lambda text: text.split(","), default=[], help="files whose paths have a part")
    options = parser.parse_args()
    Runner(options.suite, options).main()


if __name__ == "__main__":
    main()
