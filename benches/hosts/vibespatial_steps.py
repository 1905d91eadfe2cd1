"""The layers, and the steps of vibeSpatial that are run on them: real calls of its kernels and of its
public GeoDataFrame."""
import gc


def blob_layer(np, shapely, n, seed, shift=0.0, vertices=12):
    """n star-like polygons on a jittered unit grid; about 4 to 5 boxes meet each other."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    k = np.arange(n)
    cx = (k % side) + rng.uniform(-0.2, 0.2, n) + shift
    cy = (k // side) + rng.uniform(-0.2, 0.2, n) + shift
    ang = (np.arange(vertices) + rng.uniform(-0.3, 0.3, (n, vertices))) * (2 * np.pi / vertices)
    rad = rng.uniform(0.35, 0.7, (n, vertices))
    xy = np.empty((n, vertices + 1, 2))
    xy[:, :-1, 0] = cx[:, None] + rad * np.cos(ang)
    xy[:, :-1, 1] = cy[:, None] + rad * np.sin(ang)
    xy[:, -1] = xy[:, 0]
    return shapely.polygons(xy)


def cell_layer(np, shapely, n, seed):
    """A coverage: quads of a grid whose shared corners are jittered."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(n)))
    gx, gy = np.meshgrid(np.arange(side + 1.0), np.arange(side + 1.0))
    gx += rng.uniform(-0.2, 0.2, gx.shape)
    gy += rng.uniform(-0.2, 0.2, gy.shape)
    k = np.arange(n)
    c, r = k % side, k // side
    xy = np.empty((n, 5, 2))
    for i, (dc, dr) in enumerate([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]):
        xy[:, i, 0] = gx[r + dr, c + dc]
        xy[:, i, 1] = gy[r + dr, c + dc]
    block = (r // 4) * ((side + 3) // 4) + (c // 4)
    _, codes = np.unique(block, return_inverse=True)
    return shapely.polygons(xy), codes.astype(np.int32)


def layers(np, shapely, pairs):
    """Seeded layers of which so many pairs of boxes meet: blobs, blobs, a coverage, points."""
    n = max(16, int(pairs / 4.3))  # 4.3 meeting boxes a row, measured
    codes_of_blobs = (np.arange(n) // 5).astype(np.int32)
    rng = np.random.default_rng(44)
    side = int(np.ceil(np.sqrt(n)))
    px, py = rng.uniform(0, side, 10 * n), rng.uniform(0, side, 10 * n)
    cells, codes = cell_layer(np, shapely, n, 33)
    return dict(np=np, shapely=shapely, n=n, L=blob_layer(np, shapely, n, 11), R=blob_layer(np, shapely, n, 22, shift=0.37),
                C=cells, codes=codes, px=px, py=py, lcodes=codes_of_blobs)


class StepTimeout(Exception):
    """A step took longer than it may."""


class Steps:
    """Groups of steps; `step(name, function, limit)` of the class on top runs and notes each."""

    def up(self, arr):
        from vibespatial import from_shapely_geometries
        from vibespatial.runtime.residency import Residency
        return from_shapely_geometries(list(arr), residency=Residency.DEVICE)

    def g_core(self, D, rep):
        """Kernel level: geometry columns on the device, GPU demanded, no attribute table."""
        from vibespatial import spatial_overlay_owned
        from vibespatial.runtime import ExecutionMode, RuntimeSelection
        from vibespatial.spatial.indexing import build_flat_spatial_index, generate_bounds_pairs
        from vibespatial.spatial.query import query_spatial_index
        GPU = ExecutionMode.GPU
        p = "core%d." % rep
        l = self.step(p + "upload.left", lambda: self.up(D["L"]))
        r = self.step(p + "upload.right", lambda: self.up(D["R"]))
        if l is None or r is None:
            return
        x = self.step(p + "bounds_pairs",
                      lambda: generate_bounds_pairs(l, r, requested_mode=GPU))
        del x
        gc.collect()
        for how in ("intersection", "difference", "union", "symmetric_difference", "identity"):
            x = self.step(p + "overlay." + how, lambda: spatial_overlay_owned(
                l, r, how=how, dispatch_mode=GPU), limit=70)
            if x is not None:
                from vibespatial.constructive.measurement import area_owned
                self.step(p + "overlay." + how + ".area", lambda: float(area_owned(x).sum()))
            del x
            gc.collect()
        sel = RuntimeSelection(requested=GPU, selected=GPU, reason="trace run")

        def points():
            from vibespatial.constructive.point import point_owned_from_xy_device
            return point_owned_from_xy_device(D["px"], D["py"])
        pts = self.step(p + "upload.points", points)
        idx = self.step(p + "index.polygons",
                        lambda: build_flat_spatial_index(l, runtime_selection=sel))
        if idx is not None:
            x = self.step(p + "sjoin.polygons", lambda: query_spatial_index(
                l, idx, r, predicate="intersects", return_device=True, return_metadata=True)[0])
            del x
            if pts is not None:
                x = self.step(p + "sjoin.points", lambda: query_spatial_index(
                    l, idx, pts, predicate="intersects", return_device=True,
                    return_metadata=True)[0])
                del x
        gc.collect()

    def g_group(self, D, rep):
        """Dissolve at kernel level: grouped union of blobs and of a coverage."""
        import cupy as cp
        from vibespatial.api._native_grouped import NativeGrouped
        from vibespatial.overlay.dissolve import execute_native_grouped_union
        p = "group%d." % rep
        l = self.step(p + "upload.blobs", lambda: self.up(D["L"]))
        if l is not None:
            def blobs():
                g = NativeGrouped.from_dense_codes(cp.asarray(D["lcodes"]),
                                                   group_count=int(D["lcodes"].max()) + 1)
                res = execute_native_grouped_union(g, _geometries=D["L"], method="unary", owned=l)
                if res is None:
                    raise RuntimeError("grouped union declined (returned None)")
                return res
            x = self.step(p + "dissolve.unary", blobs, limit=70)
            del x
        del l
        gc.collect()
        c = self.step(p + "upload.cells", lambda: self.up(D["C"]))
        if c is not None:
            for method in ("coverage", "unary"):
                def cells(method=method):
                    g = NativeGrouped.from_dense_codes(cp.asarray(D["codes"]),
                                                       group_count=int(D["codes"].max()) + 1)
                    res = execute_native_grouped_union(g, _geometries=D["C"], method=method,
                                                       owned=c)
                    if res is None:
                        raise RuntimeError("grouped union declined (returned None)")
                    return res
                x = self.step(p + "dissolve.cells." + method, cells, limit=70)
                del x
        gc.collect()

    def g_more(self, D, rep):
        """Other constructive work: buffers, hulls, simplify, row-wise pairs, union of all."""
        from vibespatial.constructive.binary_constructive import binary_constructive_owned
        from vibespatial.constructive.centroid import centroid_owned
        from vibespatial.constructive.convex_hull import convex_hull_owned
        from vibespatial.constructive.measurement import area_owned
        from vibespatial.constructive.point import (point_buffer_owned_array,
                                                    point_owned_from_xy_device)
        from vibespatial.constructive.polygon import polygon_buffer_owned_array
        from vibespatial.constructive.simplify import simplify_owned
        from vibespatial.constructive.union_all import union_all_gpu_owned
        from vibespatial.runtime import ExecutionMode
        GPU = ExecutionMode.GPU
        p = "more%d." % rep
        l = self.step(p + "upload.left", lambda: self.up(D["L"]))
        r = self.step(p + "upload.right", lambda: self.up(D["R"]))
        if l is None or r is None:
            return
        k = min(D["n"] * 10, 400_000)
        jobs = [
            ("area", lambda: area_owned(l, dispatch_mode=GPU)),
            ("centroid", lambda: centroid_owned(l, dispatch_mode=GPU)),
            ("convex_hull", lambda: convex_hull_owned(l, dispatch_mode=GPU)),
            ("simplify", lambda: simplify_owned(l, 0.05, dispatch_mode=GPU)),
            ("buffer.polygons", lambda: polygon_buffer_owned_array(l, 0.1, dispatch_mode=GPU)),
            ("buffer.points", lambda: point_buffer_owned_array(
                point_owned_from_xy_device(D["px"][:k], D["py"][:k]), 0.2, quad_segs=8,
                dispatch_mode=GPU)),
            ("rows.intersection", lambda: binary_constructive_owned(
                "intersection", l, r, dispatch_mode=GPU)),
            ("rows.union", lambda: binary_constructive_owned("union", l, r, dispatch_mode=GPU)),
        ]
        if D["n"] <= 30_000:
            jobs.append(("union_all", lambda: union_all_gpu_owned(l, dispatch_mode=GPU)))
        for name, fn in jobs:
            x = self.step(p + name, fn, limit=40)
            del x
            gc.collect()

    @staticmethod
    def force(res, info):
        """Make a public result real: len() alone leaves a dissolved geometry column lazy."""
        info["len"] = len(res)
        try:
            g = getattr(res, "geometry", res)
            vals = g.values
            owned = getattr(vals, "_owned", None)
            info["values"], info["owned"] = type(vals).__name__, type(owned).__name__
            if hasattr(owned, "_materialize_owned"):
                info["lazy"] = True
                owned = owned._materialize_owned()
            info["residency"] = str(getattr(owned, "residency", None))
            info["area"] = float(g.area.sum())
        except StepTimeout:
            raise
        except Exception as e:
            info["force_error"] = repr(e)[:400]

    def g_public(self, D, rep):
        """Public GeoPandas-like calls in automatic mode, with attribute columns."""
        np = D["np"]
        import pandas as pd
        import vibespatial as vs
        p = "public%d." % rep

        def frames():
            rng = np.random.default_rng(5)
            n = D["n"]
            a = vs.GeoDataFrame({"id": np.arange(n), "grp": D["lcodes"],
                                 "w": rng.random(n)}, geometry=list(D["L"]))
            b = vs.GeoDataFrame({"rid": np.arange(n), "v": rng.random(n)}, geometry=list(D["R"]))
            c = vs.GeoDataFrame({"block": D["codes"], "w": rng.random(n)}, geometry=list(D["C"]))
            q = vs.GeoDataFrame({"pid": np.arange(len(D["px"]))},
                                geometry=vs.points_from_xy(D["px"], D["py"]))
            return a, b, c, q
        f = self.step(p + "frames", frames)
        if f is None:
            return
        a, b, c, q = f
        side = float(np.sqrt(D["n"]))

        def pipeline():
            j = vs.sjoin(q, a, predicate="within")
            cnt = j.groupby("index_right").size() if isinstance(j, pd.DataFrame) else None
            big = a.iloc[: len(a) // 2].copy()
            big["geometry"] = big.geometry.buffer(0.1)
            o = vs.overlay(big, b, how="intersection")
            d = o.dissolve(by="grp", aggfunc="first") if "grp" in o.columns else o
            return d if cnt is not None else o
        jobs = [
            ("sjoin.points", lambda: vs.sjoin(q, a, predicate="within")),
            ("sjoin.polygons", lambda: vs.sjoin(a, b, predicate="intersects")),
            ("overlay.intersection", lambda: vs.overlay(a, b, how="intersection")),
            ("overlay.difference", lambda: vs.overlay(a, b, how="difference")),
            ("overlay.union", lambda: vs.overlay(a, b, how="union")),
            ("dissolve.blobs", lambda: a.dissolve(by="grp", aggfunc="first")),
            ("dissolve.cells", lambda: c.dissolve(by="block", aggfunc="sum", method="coverage")),
            ("buffer", lambda: a.geometry.buffer(0.1)),
            ("clip", lambda: vs.clip(a, (0.2 * side, 0.2 * side, 0.7 * side, 0.7 * side))),
            ("pipeline", pipeline),
        ]
        for name, fn in jobs:
            info = {}

            def touched(fn=fn, info=info):
                res = fn()
                self.force(res, info)          # public results can be lazy
                return res
            x = self.step(p + name, touched, limit=40)
            if info:
                self.out["steps"][-1]["forced"] = info
            del x
            gc.collect()
