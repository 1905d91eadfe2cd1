#!/usr/bin/env python3
"""The real vibeSpatial over RMM's pool or over vmem: what it holds, what fails, what an allocator takes.

  PYTHONPATH=<vibeSpatial>/src:<site> python3 run_vibespatial.py --out DIR [--only a_small,b_medium,c_large]
  PYTHONPATH=...                      python3 run_vibespatial.py --out DIR --limits 2150,2200,2300 --runs 3
  PYTHONPATH=...                      python3 run_vibespatial.py --out DIR --paired 8 --timed

One process a scenario, allocator and run; allocators take turns. Without --only or --limits all scenarios are run.
vibeSpatial builds its pool when it is imported, so the pool is replaced before. The resources are vibeSpatial's own
otherwise (its default tier): statistics over a failure callback, that collects garbage, over the pool; `--log` has RMM
write what is asked of those. Figures of a scenario are a line of `vibespatial.jsonl`. Areas are compared with Shapely's
(`areas.py` writes them). `--timed` also adds up the time in allocate and free, RMM's pool being called through the same
kind of resource in Python as vmem's. `--paired` repeats the core steps at 100 k pairs, the allocators taking turns step
by step.
"""
import argparse
import concurrent.futures
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback

import machine
import turns
import vibespatial_steps
from vibespatial_steps import StepTimeout, Steps

HERE = os.path.dirname(os.path.abspath(__file__))
GROUPS = ["core", "group", "more", "public"]
SCENARIOS = [
    dict(name="a_small", pairs=10_000, reps=2, limit=260, groups=GROUPS, env={}),
    dict(name="b_medium", pairs=100_000, reps=2, limit=260, groups=GROUPS, env={}),
    dict(name="c_large", pairs=1_000_000, reps=1, limit=530, groups=GROUPS, env={}),
    dict(name="d_limit", pairs=200_000, reps=1, limit=100, groups=["core", "group"],
         env={"VIBESPATIAL_GPU_POOL_LIMIT": str(1 << 30)}),
]
FATAL = ("ILLEGAL_ADDRESS", "illegal memory", "LAUNCH_FAILED", "unspecified launch", "CONTEXT_IS_DESTROYED", "misaligned")


class Meter:
    """Calls of an allocator's entry points, and the nanoseconds in them."""

    def __init__(self):
        self.calls = self.inside = 0

    def of(self, function):
        clock = time.perf_counter_ns

        def wrapped(*arguments):
            begun = clock()
            try:
                return function(*arguments)
            finally:
                self.inside += clock() - begun
                self.calls += 1
        return wrapped


class Child(Steps):
    def __init__(self, a):
        self.a, self.meter, self.pool, self.inner, self.log = a, Meter(), None, None, None
        self.out = {"scenario": a.child, "allocator": a.allocator, "steps": [], "exhausted": 0}
        self.deadline = time.time() + a.limit - 8
        self.fatal = False
        self.launches = 0

    def save(self):
        with open(self.a.work, "w") as f:
            json.dump(self.out, f, indent=1, default=str)

    def replace_pool(self):
        import rmm.mr
        rmm_pool, callback_adaptor, meter = rmm.mr.PoolMemoryResource, rmm.mr.FailureCallbackResourceAdaptor, self.meter

        def pool(upstream, initial_pool_size=None, maximum_pool_size=None):
            if self.a.allocator.startswith("vmem"):
                import vmem_gpu
                import vmem_gpu.rmm as vmem
                if self.a.timed:
                    vmem._allocate, vmem._deallocate = meter.of(vmem._allocate), meter.of(vmem._deallocate)
                if self.a.allocator == "vmem-lazy":
                    vmem._open = vmem.runtime = functools.partial(vmem_gpu.open, footprint="lazy")
                made = vmem.MemoryResource(upstream, initial_pool_size, maximum_pool_size)
            else:
                made = rmm_pool(upstream, initial_pool_size=initial_pool_size, maximum_pool_size=maximum_pool_size)
                if self.a.timed:
                    inner = self.inner = made
                    made = rmm.mr.CallbackMemoryResource(meter.of(inner.allocate), meter.of(inner.deallocate))
            self.pool = made
            return made

        def adaptor(upstream, callback):
            def counted(size):
                self.out["exhausted"] += 1
                return callback(size)
            made = callback_adaptor(upstream, counted)
            if self.a.log:
                made = self.log = rmm.mr.LoggingResourceAdaptor(made, os.path.splitext(self.a.work)[0] + ".csv")
            return made

        rmm.mr.PoolMemoryResource, rmm.mr.FailureCallbackResourceAdaptor = pool, adaptor
        self.out["rmm"] = rmm.__version__

    @staticmethod
    def of_process():
        """Bytes of the card that this process has, context and code included, by NVML."""
        import pynvml
        pynvml.nvmlInit()
        processes = pynvml.nvmlDeviceGetComputeRunningProcesses(pynvml.nvmlDeviceGetHandleByIndex(0))
        return next((p.usedGpuMemory for p in processes if p.pid == os.getpid()), None)

    def figures(self):
        import cupy
        out = {"free": cupy.cuda.runtime.memGetInfo()[0], "process": self.of_process()}
        out.update(self.rt.memory_pool_stats())
        if self.a.allocator.startswith("vmem"):
            of_vmem = self.pool.runtime.stats()
            out.update(peak_reserved=of_vmem.peak_reserved, vmem_peak=of_vmem.peak_bytes, quarantined=of_vmem.quarantined)
        elif self.inner is not None:
            out["reserved_bytes"] = self.inner.pool_size()
        return out

    def step(self, name, fn, limit=60, sync=True):
        left = self.deadline - time.time()
        s = {"name": name}
        self.out["steps"].append(s)
        if self.fatal or left < 3:
            s["skipped"] = "context lost" if self.fatal else "no time"
            self.save()
            return None
        print("step", name, flush=True)
        launches, calls, inside = self.launches, self.meter.calls, self.meter.inside
        allocations = self.figures().get("total_allocations", 0)
        signal.signal(signal.SIGALRM, self._alarm)
        signal.alarm(max(1, int(min(limit, left))))
        begun = time.perf_counter()
        value = None
        try:
            value = fn()
            self.rt.synchronize()
            s["ok"] = True
        except BaseException as e:  # everything goes to the report
            s["ok"] = False
            s["error"] = repr(e)[:1500]
            s["traceback"] = traceback.format_exc()[-3500:]
            self.fatal = any(w in s["error"] for w in FATAL)
        finally:
            signal.alarm(0)
        s["wall_s"] = round(time.perf_counter() - begun, 5)
        s["calls"], s["inside_ms"] = self.meter.calls - calls, (self.meter.inside - inside) / 1e6
        s["launches"], s["after"] = self.launches - launches, self.figures()
        s["allocations"] = s["after"].get("total_allocations", 0) - allocations
        if isinstance(value, float):
            s["value"] = value
        self.save()
        turns.over()
        return value

    @staticmethod
    def _alarm(*_):
        raise StepTimeout("step limit reached")

    def run(self):
        a = self.a
        sys.path.insert(0, HERE)
        import numpy as np
        if a.jit == "nvrtc":
            import cccl_nvrtc_jit
            cccl_nvrtc_jit.install()
        import cupy
        import shapely
        self.out["free_at_start"] = cupy.cuda.runtime.memGetInfo()[0]
        self.replace_pool()
        import vibespatial
        from vibespatial.cuda._runtime import get_cuda_runtime
        self.out["vibespatial"] = vibespatial.__version__
        self.rt = get_cuda_runtime()
        self.rt._ensure_context()
        launch = self.rt.launch

        def counted(*args, **kw):
            self.launches += 1
            return launch(*args, **kw)
        self.rt.launch = counted
        self.out["backend"] = self.rt._memory_backend
        from vibespatial.cuda.cccl_precompile import ensure_pipelines_warm
        import vibespatial.spatial.query_candidates  # noqa: F401
        ensure_pipelines_warm(timeout=40.0)
        self.save()
        data = vibespatial_steps.layers(np, shapely, a.pairs)
        for rep in range(a.reps):
            for group in a.groups.split(","):
                try:
                    getattr(self, "g_" + group)(data, rep)
                except BaseException as e:
                    self.out.setdefault("group_errors", []).append([group, rep, repr(e)[:500], traceback.format_exc()[-2500:]])
                gc.collect()
        self.out["final"] = self.figures()
        if self.log is not None:
            self.log.flush()
        self.save()


def areas(folder, base, child):
    """(step, area, Shapely's) of what differs by more than a millionth, and how many were compared."""
    with open(os.path.join(folder, "expected_areas.json")) as f:
        expected = json.load(f)
    expected = expected.get("b_medium" if base.startswith("limit") else base, {})
    off, compared = [], 0
    for s in child.get("steps", []):
        name = s["name"].split(".", 1)[-1]
        got = (s.get("forced") or {}).get("area", s.get("value"))
        want = expected.get(name.replace("overlay.", "").replace(".area", ""))
        if got is None or want is None or "overlay" not in name:
            continue
        compared += 1
        if abs(got - want) > 1e-6 * want:
            off.append([s["name"], got, want])
    return off, compared


def scenario(a, sc, allocator, run, begin=None):
    """Runs one process, which `begin` starts, and appends its line."""
    name = "%s.%s.%d" % (sc["name"], allocator, run)
    work = os.path.join(a.out, name + ".json")
    cmd = [sys.executable, os.path.abspath(__file__), "--child", name, "--work", work, "--pairs", str(sc["pairs"]),
           "--reps", str(sc["reps"]), "--limit", str(sc["limit"]), "--groups", ",".join(sc["groups"]),
           "--allocator", allocator, "--jit", a.jit] + ["--timed"] * a.timed + ["--log"] * a.log
    env = dict(os.environ, PYTHONUNBUFFERED="1", VIBESPATIAL_TRACE_WARNINGS="0", **sc["env"])
    env.setdefault("VIBESPATIAL_CCCL_CACHE", "0")
    env.setdefault("CUDA_HOME", "/usr/local/cuda")
    env.setdefault("CUDA_PATH", env["CUDA_HOME"])
    begun = time.time()
    with open(work + ".log", "wb") as log:
        begin = begin or subprocess.Popen
        process = begin(cmd, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            rc = process.wait(timeout=sc["limit"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            rc = "killed at its limit"
    try:
        with open(work) as f:
            child = json.load(f)
    except (OSError, ValueError):
        child = {}
    done = [s for s in child.get("steps", []) if "ok" in s]
    after = [s["after"] for s in done]
    off, compared = areas(a.areas, sc["name"], child)
    line = {
        "name": name, "rc": rc, "wall_s": round(time.time() - begun, 1), "steps": len(done),
        "skipped": sum("skipped" in s for s in child.get("steps", [])),
        "failed": [[s["name"], s["error"][:200]] for s in done if not s["ok"]],
        "groups": [x[:3] for x in child.get("group_errors", [])],
        "peak_live": max([x.get("peak_bytes", 0) for x in after], default=None),
        "reserved": max([x.get("peak_reserved") or x.get("reserved_bytes", 0) for x in after], default=None),
        "card": child.get("free_at_start", 0) - min([x["free"] for x in after], default=0),
        "process": max([x["process"] or 0 for x in after], default=None),
        "off_gpu": [s["name"] for s in done if s["ok"] and not s["launches"] and not s["allocations"]],
        "areas_off": off, "areas": compared, "exhausted": child.get("exhausted"),
        "step_s": round(sum(s["wall_s"] for s in done), 3), "inside_ms": round(sum(s["inside_ms"] for s in done), 2),
        "calls": sum(s["calls"] for s in done),
        "times": {s["name"]: [s["wall_s"], s["calls"], round(s["inside_ms"], 3)] for s in done},
    }
    if not done:
        with open(work + ".log", errors="replace") as f:
            line["output"] = f.read()[-2500:]
    with open(os.path.join(a.out, "vibespatial.jsonl"), "a") as f:
        f.write(json.dumps(line) + "\n")
    print("VS", json.dumps({k: v for k, v in line.items() if k != "times"}), flush=True)
    return line


def paired(a):
    """The core steps again and again, the allocators in turn: ratios of a step's times, and what is spent inside."""
    sc = dict(name="b_medium", pairs=100_000, reps=a.paired, limit=a.limit or 400, groups=["core"], env={})
    allocators, sides, started = a.allocators.split(","), [], threading.Semaphore(0)

    def begin(command, **arguments):
        process, side = turns.start(command, **arguments)
        sides.append(side)
        started.release()
        return process

    with concurrent.futures.ThreadPoolExecutor(len(allocators)) as pool:
        work = [pool.submit(scenario, a, sc, allocator, 0, begin) for allocator in allocators]
        for _ in allocators:
            started.acquire()
        turns.take_turns(sides)
        times = [w.result()["times"] for w in work]
    for allocator, mine in zip(allocators, times):
        common = [n for n in mine if n in times[0] and ".overlay." in n and not n.endswith(".area") and not n.startswith("core0.")]
        more = sorted(100 * (mine[n][2] - times[0][n][2]) / 1e3 / mine[n][0] for n in common)
        print("PAIRED", json.dumps({
            "allocator": allocator, "over": allocators[0], "steps": len(common),
            "ratio": turns.ratio([mine[n][0] for n in common], [times[0][n][0] for n in common]),
            "more_inside_percent_of_step": [round(more[int(q * (len(more) - 1))], 3) for q in (0, 0.5, 1)] if more else None,
        }), flush=True)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.environ.get("OUT", "out"))
    ap.add_argument("--areas", default=HERE, help="folder of expected_areas.json")
    ap.add_argument("--only", help="scenarios, of " + ", ".join(s["name"] for s in SCENARIOS) + " [default: all, but none with --limits]")
    ap.add_argument("--limits", default="", help="the core steps at 100 k pairs under pool limits of so many MiB")
    ap.add_argument("--log", action="store_true", help="write what is asked of the pool as a log of RMM's, beside each process's other files")
    ap.add_argument("--allocators", default="rmm,vmem,vmem-lazy")
    ap.add_argument("--runs", type=int, default=1)
    ap.add_argument("--jobs", type=int, default=1, help="processes at once; more than one where the card's free memory does not matter")
    ap.add_argument("--timed", action="store_true")
    ap.add_argument("--paired", type=int, default=0, help="instead: so many rounds in turns, the first of which is in no ratio")
    ap.add_argument("--jit", default="nvrtc", choices=["nvrtc", "numba"])
    for option in ("child", "work", "groups", "allocator"):
        ap.add_argument("--" + option, help=argparse.SUPPRESS)
    for option in ("pairs", "reps", "limit"):
        ap.add_argument("--" + option, type=int, help=argparse.SUPPRESS)
    a = ap.parse_args()
    if a.child:
        Child(a).run()
        sys.stdout.flush()
        os._exit(0)  # adaptors of RMM that are written in Python may be gone when the interpreter ends
    if not os.path.exists(os.path.join(a.areas, "expected_areas.json")):
        ap.error("no expected_areas.json in %s, which areas.py makes: a run would end without its line" % a.areas)
    os.makedirs(a.out, exist_ok=True)
    machine.append(os.path.join(a.out, "vibespatial.jsonl"))
    if a.paired:
        return paired(a)
    only = a.only.split(",") if a.only else [] if a.limits else [s["name"] for s in SCENARIOS]
    chosen = [s for s in SCENARIOS if s["name"] in only]
    chosen += [dict(name="limit_" + m, pairs=100_000, reps=1, limit=200, groups=["core"],
                    env={"VIBESPATIAL_GPU_POOL_LIMIT": str(int(m) << 20)}) for m in a.limits.split(",") if m]
    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        work = [pool.submit(scenario, a, sc, allocator, run)
                for sc in chosen for run in range(a.runs) for allocator in a.allocators.split(",")]
        for w in work:
            w.result()


if __name__ == "__main__":
    main()
