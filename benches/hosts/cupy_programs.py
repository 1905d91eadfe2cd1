#!/usr/bin/env python3
"""Seven CuPy programs under CuPy's pool, RMM's pool and vmem: what each allocator holds, and what it takes.

  PYTHONPATH=<site> python3 cupy_programs.py --out DIR [--pools cupy,rmm,vmem] [--solo]

One process a pool; they take turns, program by program, so that their times are pairs, or run one after the other
(`--solo`), so that what the card loses is theirs. A line of `cupy.jsonl` each. The programs are seeded. The first
round of a size is in no ratio.
"""
import argparse
import gc
import json
import os
import subprocess
import sys
import threading
import time

import machine
import turns

PIP_SRC = r"""
extern "C" __global__ void pip(const double* px, const double* py, const long long* cand_pt,
        const int* cand_poly, const double* vx, const double* vy, const long long* off,
        long long n, bool* out) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i >= n) return;
  double x = px[cand_pt[i]], y = py[cand_pt[i]];
  int p = cand_poly[i];
  bool in = false;
  for (long long a = off[p], b = off[p + 1] - 1, j = b; a <= b; j = a++) {
    double xi = vx[a], yi = vy[a], xj = vx[j], yj = vy[j];
    if (((yi > y) != (yj > y)) && (x < (xj - xi) * (y - yi) / (yj - yi) + xi)) in = !in;
  }
  out[i] = in;
}
"""


class Env:
    """CuPy, and its modules that are like SciPy's."""

    def __init__(self):
        import cupy
        import cupyx.scipy.ndimage
        import cupyx.scipy.sparse
        self.xp, self.ndi, self.sp = cupy, cupyx.scipy.ndimage, cupyx.scipy.sparse
        self.sync = lambda: cupy.cuda.Device().synchronize()
        self.pip = cupy.RawKernel(PIP_SRC, "pip")


def rng(E, seed):
    return E.xp.random.default_rng(seed)


def point_in_polygon(E, n, rep):
    """Points to polygons: grid hash, candidate expansion, exact test, counts by polygon."""
    xp = E.xp
    m = n // 20 + 1
    side = int(m ** 0.5) + 1
    g = rng(E, 1 + rep)
    v = 12
    k = xp.arange(m)
    ang = (xp.arange(v)[None, :] + g.random((m, v)) * 0.5) * (6.283185307179586 / v)
    rad = 0.35 + 0.35 * g.random((m, v))
    vx = ((k % side)[:, None] + 0.5 + rad * xp.cos(ang)).ravel()
    vy = ((k // side)[:, None] + 0.5 + rad * xp.sin(ang)).ravel()
    off = xp.arange(m + 1, dtype=xp.int64) * v
    px, py = g.random(n) * side, g.random(n) * side
    bx0 = vx.reshape(m, v).min(axis=1)
    bx1 = vx.reshape(m, v).max(axis=1)
    by0 = vy.reshape(m, v).min(axis=1)
    by1 = vy.reshape(m, v).max(axis=1)
    c0x, c1x = xp.floor(bx0).astype(xp.int64), xp.floor(bx1).astype(xp.int64)
    c0y, c1y = xp.floor(by0).astype(xp.int64), xp.floor(by1).astype(xp.int64)
    nx = c1x - c0x + 1
    cnt = nx * (c1y - c0y + 1)
    ends = xp.cumsum(cnt)
    total = int(ends[-1])
    poly = xp.searchsorted(ends, xp.arange(total), side="right").astype(xp.int32)
    local = xp.arange(total) - (ends - cnt)[poly]
    cell = (c0y[poly] + local // nx[poly]) * (side + 2) + c0x[poly] + local % nx[poly] + 1
    order = xp.argsort(cell)
    cell, poly = cell[order], poly[order]
    pcell = xp.floor(py).astype(xp.int64) * (side + 2) + xp.floor(px).astype(xp.int64) + 1
    lo = xp.searchsorted(cell, pcell, side="left")
    hi = xp.searchsorted(cell, pcell, side="right")
    c = hi - lo
    e2 = xp.cumsum(c)
    tot = int(e2[-1])
    pt = xp.searchsorted(e2, xp.arange(tot), side="right")
    cand = poly[lo[pt] + xp.arange(tot) - (e2 - c)[pt]]
    keep = ((px[pt] >= bx0[cand]) & (px[pt] <= bx1[cand])
            & (py[pt] >= by0[cand]) & (py[pt] <= by1[cand]))
    pt, cand = pt[keep], cand[keep]
    out = xp.zeros(pt.size, dtype=bool)
    if pt.size:
        E.pip(((int(pt.size) + 255) // 256,), (256,),
              (px, py, pt.astype(xp.int64), cand.astype(xp.int32), vx, vy, off,
               xp.int64(pt.size), out))
    hit = xp.flatnonzero(out)
    per = xp.bincount(cand[hit], minlength=m)
    return int(per.sum()) + int(pt.size)


def raster_overlay(E, n, rep):
    """Zonal statistics and map algebra on rasters, tile by tile, tiles of unequal size."""
    xp, ndi = E.xp, E.ndi
    side = int(n ** 0.5)
    g = rng(E, 2 + rep)
    z = g.random((side, side), dtype=xp.float32)
    zones = (xp.arange(side)[:, None] // 37 * 1000 + xp.arange(side)[None, :] // 53).astype(xp.int32)
    _, zi = xp.unique(zones, return_inverse=True)
    zi = zi.ravel()
    acc = []
    y = 0
    step = 61
    while y < side:
        h = min(step, side - y)
        t = z[y:y + h]
        s = ndi.gaussian_filter(t, 1.5)
        gx, gy = xp.gradient(s.astype(xp.float64)) if min(t.shape) > 1 else (s, s)
        slope = xp.sqrt(gx * gx + gy * gy)
        m = (slope > slope.mean()) & (t > 0.2)
        w = xp.where(m, t * 2 + slope, 0.0).ravel()
        acc.append(xp.bincount(zi[y * side:(y + h) * side], weights=w))
        y += h
        step = 61 + (step * 7) % 190
    size = max(a.size for a in acc)
    tot = xp.zeros(size)
    for a in acc:
        tot[:a.size] += a
    lab, k = ndi.label(z > 0.6)
    areas = xp.bincount(lab.ravel())
    return float(tot.sum()) + int(k) + int(areas.size)


def sort_groupby(E, n, rep):
    """Sort, unique, group sums, joins by key, top-k: a data-frame day."""
    xp = E.xp
    g = rng(E, 3 + rep)
    key = g.integers(0, n // 8 + 1, n)
    val = g.random(n)
    order = xp.argsort(key)
    k, v = key[order], val[order]
    head = xp.concatenate([xp.ones(1, dtype=bool), k[1:] != k[:-1]])
    start = xp.flatnonzero(head)
    cs = xp.concatenate([xp.zeros(1), xp.cumsum(v)])
    stop = xp.concatenate([start[1:], xp.asarray([n])])
    sums = cs[stop] - cs[start]
    means = sums / (stop - start)
    uk = k[start]
    other = xp.unique(g.integers(0, n // 4 + 1, n // 2))
    pos = xp.clip(xp.searchsorted(uk, other), 0, uk.size - 1)
    match = uk[pos] == other
    joined = means[pos[match]]
    top = xp.sort(joined)[-1000:]
    z = (val - means[xp.searchsorted(uk, key)])
    outl = xp.flatnonzero(xp.abs(z) > 0.8)
    sel = xp.stack([key[outl].astype(xp.float64), val[outl], z[outl]], axis=1)
    rank = xp.lexsort(xp.stack([sel[:, 1], sel[:, 0]])) if sel.shape[0] else xp.zeros(0)
    return float(top.sum()) + int(rank.size)


def fft_filter(E, n, rep):
    """2-D FFT filtering of a stack of images with different sizes."""
    xp = E.xp
    g = rng(E, 4 + rep)
    r = 0.0
    base = max(64, int((n // 4) ** 0.5))
    for f in (1.0, 0.5, 0.75, 0.31, 0.9):
        s = int(base * f)
        img = g.random((s, s))
        F = xp.fft.rfft2(img)
        ky = xp.fft.fftfreq(s)[:, None]
        kx = xp.fft.rfftfreq(s)[None, :]
        H = xp.exp(-((kx * kx + ky * ky) * 200))
        low = xp.fft.irfft2(F * H, s=(s, s))
        P = xp.abs(F) ** 2
        bins = xp.minimum((xp.sqrt(kx * kx + ky * ky) * s).astype(xp.int64), s)
        spec = xp.bincount(bins.ravel(), weights=P.ravel())
        r += float(low.mean()) + float(spec[1])
    return r


def sparse_solve(E, n, rep):
    """2-D Poisson matrix, sparse products, conjugate gradients written out."""
    xp, sp = E.xp, E.sp
    s = max(16, int((n // 4) ** 0.5))
    e = xp.ones(s)
    T = sp.diags([e * 4, -e[:-1], -e[:-1]], [0, -1, 1]).tocsr()
    I = sp.eye(s, format="csr")
    off = sp.diags([-e[:-1], -e[:-1]], [-1, 1]).tocsr()
    A = (sp.kron(I, T).tocsr() + sp.kron(off, I).tocsr()).tocsr()
    A2 = (A @ A).tocsr()
    b = A2 @ xp.ones(A.shape[0])
    x = xp.zeros_like(b)
    r = b - A @ x
    p = r.copy()
    rr = r @ r
    for _ in range(40):
        Ap = A @ p
        al = rr / (p @ Ap)
        x = x + al * p
        r = r - al * Ap
        rn = r @ r
        p = r + (rn / rr) * p
        rr = rn
    return float(rr)


def kmeans_chunks(E, n, rep):
    """k-means with distance blocks of changing height, a growing result list, a concat."""
    xp = E.xp
    g = rng(E, 6 + rep)
    m = n // 8 + 64
    X = g.random((m, 8), dtype=xp.float32)
    C = X[:64].copy()
    for it in range(6):
        labs = []
        i = 0
        h = 4096
        while i < m:
            B = X[i:i + h]
            d = (B * B).sum(1)[:, None] - 2 * (B @ C.T) + (C * C).sum(1)[None, :]
            labs.append(d.argmin(axis=1))
            i += h
            h = min(4096 + (h * 5) % 60000, 65536)
        lab = xp.concatenate(labs)
        cnt = xp.bincount(lab, minlength=64)
        C = xp.stack([xp.bincount(lab, weights=X[:, j], minlength=64) for j in range(8)],
                     axis=1).astype(xp.float32) / xp.maximum(cnt, 1)[:, None].astype(xp.float32)
    return float(C.sum())


def time_windows(E, n, rep):
    """Streaming: windows of random length, kept in a cache that drops old entries."""
    xp = E.xp
    import random
    rnd = random.Random(7 + rep)
    g = rng(E, 7 + rep)
    cache = []
    tot = 0.0
    for i in range(160):
        k = int(2 ** rnd.uniform(10, max(11, n.bit_length() - 1)))
        w = g.standard_normal(k)
        f = xp.cumsum(w)
        f = f - f.mean()
        q = xp.percentile(f, xp.asarray([5.0, 50.0, 95.0]))
        if rnd.random() < 0.35:
            cache.append(f.astype(xp.float32))
        if len(cache) > 24:
            for _ in range(rnd.randrange(1, 8)):
                cache.pop(rnd.randrange(len(cache)))
        if i % 40 == 39 and cache:
            tot += float(xp.concatenate(cache).sum())
        tot += float(q[1])
    return tot


PROGRAMS = [point_in_polygon, raster_overlay, sort_groupby, fft_filter, sparse_solve,
            kmeans_chunks, time_windows]


class Meter:
    """Calls of an allocator's function, and the nanoseconds in them. Frees are not in it: a block ends unseen."""
    calls = inside = 0


def timed(function):
    clock = time.perf_counter_ns

    def wrapped(*a):
        t = clock()
        try:
            return function(*a)
        finally:
            Meter.inside += clock() - t
            Meter.calls += 1
    return wrapped


def setup(pool):
    """Installs an allocator; returns (held now, most held, most live) in bytes, None where it does not say."""
    import cupy as cp
    if pool == "cupy":
        p = cp.get_default_memory_pool()
        cp.cuda.set_allocator(timed(p.malloc))
        return lambda: (p.total_bytes(), None, None)
    if pool == "rmm":
        import rmm
        import rmm.mr
        from rmm import statistics
        from rmm.allocators import cupy as ra
        total = cp.cuda.runtime.memGetInfo()[1]
        ceiling = (total - max(1 << 30, total // 10)) // 256 * 256
        p = rmm.mr.PoolMemoryResource(rmm.mr.CudaMemoryResource(), initial_pool_size=1 << 20, maximum_pool_size=ceiling)
        rmm.mr.set_current_device_resource(rmm.mr.FailureCallbackResourceAdaptor(p, lambda n: False))
        statistics.enable_statistics()
        cp.cuda.set_allocator(timed(ra.rmm_cupy_allocator))
        return lambda: (p.pool_size(), None, statistics.get_statistics().peak_bytes)
    import vmem_gpu
    import vmem_gpu.cupy as v
    if pool == "vmem-lazy":
        vmem_gpu.open(0, footprint="lazy")
    rt = v.install()
    cp.cuda.set_allocator(timed(v.allocate))

    def figures():
        s = rt.stats()
        return s.reserved, s.peak_reserved, s.peak_bytes
    return figures


def child(a):
    E = Env()
    cp = E.xp
    free0 = cp.cuda.runtime.memGetInfo()[0]
    figures = setup(a.pool)
    out = {"pool": a.pool, "values": {}, "steps": {}, "failed": []}
    low, held = free0, 0
    for n in [int(x) for x in a.sizes.split(",")]:
        for rep in range(a.reps):
            for fn in PROGRAMS:
                name = "%s.%d.r%d" % (fn.__name__, n, rep)
                calls, inside, t = Meter.calls, Meter.inside, time.perf_counter()
                try:
                    value = fn(E, n, min(rep, 1))
                    E.sync()
                    out["values"][name] = value
                except BaseException as e:
                    out["failed"].append([name, repr(e)[:300]])
                wall = time.perf_counter() - t
                gc.collect()
                out["steps"][name] = [round(1e3 * wall, 3), Meter.calls - calls, round((Meter.inside - inside) / 1e6, 3)]
                low = min(low, cp.cuda.runtime.memGetInfo()[0])
                held = max(held, figures()[0])
                turns.over()
    now, peak, live = figures()
    out.update(held=max(held, peak or 0), peak_live=live, lost=free0 - low)
    print("RESULT " + json.dumps(out), flush=True)
    os._exit(0)


def warm(line):
    """The times and the milliseconds inside of the steps that are not a size's first round, in order."""
    return [step for name, step in line.get("steps", {}).items() if not name.endswith(".r0")]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--out", default=os.environ.get("OUT", "out"))
    ap.add_argument("--pools", default="cupy,rmm,vmem,vmem-lazy")
    ap.add_argument("--solo", action="store_true")
    ap.add_argument("--reps", type=int, default=4)
    ap.add_argument("--sizes", default="100000,1000000,10000000")
    ap.add_argument("--limit", type=int, default=300, help="seconds")
    ap.add_argument("--child", action="store_true")
    ap.add_argument("--pool")
    a = ap.parse_args()
    if a.child:
        return child(a)
    os.makedirs(a.out, exist_ok=True)
    machine.append(os.path.join(a.out, "cupy.jsonl"))

    def start(pool):
        command = [sys.executable, os.path.abspath(__file__), "--child", "--pool", pool, "--sizes", a.sizes, "--reps", str(a.reps)]
        return turns.start(command, os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    pools, lines = a.pools.split(","), {}
    for group in [[pool] for pool in pools] if a.solo else [pools]:
        begun = {pool: start(pool) for pool in group}
        watch = threading.Timer(a.limit, lambda begun=begun: [process.kill() for process, _ in begun.values()])
        watch.start()
        turns.take_turns([side for _, side in begun.values()])
        for pool, (process, _) in begun.items():
            out = process.communicate()[0]
            line = [x for x in out.splitlines() if x.startswith("RESULT ")]
            lines[pool] = json.loads(line[-1][7:]) if line else {"pool": pool, "error": out[-1500:], "rc": process.returncode}
        watch.cancel()
    base = warm(lines.get("cupy", {}))
    for pool, line in lines.items():
        line["solo"], steps = a.solo, warm(line)
        if not a.solo and base and len(steps) == len(base):
            line["over_cupy"] = turns.ratio([x[0] for x in steps], [x[0] for x in base])
            more = sorted(100 * (x[2] - b[2]) / x[0] for x, b in zip(steps, base))
            line["more_inside_percent_of_step"] = {"median": round(more[len(more) // 2], 3), "least": round(more[0], 3), "most": round(more[-1], 3)}
        with open(os.path.join(a.out, "cupy.jsonl"), "a") as f:
            f.write(json.dumps(line) + "\n")
        short = {k: v for k, v in line.items() if k not in ("values", "steps")}
        print("CUPY", json.dumps(dict(short, wall_ms=round(sum(x[0] for x in steps)), inside_ms=round(sum(x[2] for x in steps), 1), calls=sum(x[1] for x in steps))), flush=True)


if __name__ == "__main__":
    main()
