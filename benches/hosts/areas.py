"""Areas of the overlays by Shapely, of the layers of vibespatial_steps.py: expected_areas.json in the folder of the first argument, or here."""
import json, multiprocessing, os, sys, time
HERE = os.path.dirname(os.path.abspath(__file__)); sys.path.insert(0, HERE)
import numpy as np, shapely, vibespatial_steps

def part(args):
    A, B, i, j, lo, hi = args
    bounds = np.searchsorted(i, np.arange(lo, hi + 1)); s = 0.0
    for q in range(lo, hi):
        a, b = bounds[q - lo], bounds[q - lo + 1]
        s += A[q].area if a == b else shapely.difference(A[q], shapely.union_all(B[j[a:b]])).area
    return s

def work(k):
    return part(JOBS[k])

def main():
    global JOBS
    out = {}
    for name, pairs in [("a_small", 10_000), ("b_medium", 100_000), ("c_large", 1_000_000), ("d_limit", 200_000)]:
        t = time.time(); n = max(16, int(pairs / 4.3))
        L = vibespatial_steps.blob_layer(np, shapely, n, 11); R = vibespatial_steps.blob_layer(np, shapely, n, 22, shift=0.37)
        i, j = shapely.STRtree(R).query(L, predicate="intersects")
        I = float(shapely.area(shapely.intersection(L[i], R[j])).sum())
        sums = []
        for A, B, a, b in ((L, R, i, j), (R, L, j, i)):
            o = np.argsort(a, kind="stable"); a, b = a[o], b[o]
            step = -(-n // 64); JOBS = [(A, B, a, b, lo, min(lo + step, n)) for lo in range(0, n, step)]
            with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
                sums.append(sum(pool.map(work, range(len(JOBS)), chunksize=1)))
        d1, d2 = sums
        out[name] = dict(intersection=I, difference=d1, union=I + d1 + d2, symmetric_difference=d1 + d2, identity=I + d1, pairs=len(i))
        with open(os.path.join(sys.argv[1] if sys.argv[1:] else HERE, "expected_areas.json"), "w") as f:
            json.dump(out, f, indent=1)
        print(name, out[name], round(time.time() - t, 1), flush=True)
main()
