"""What PyTorch's own tools make of a snapshot, as JSON: python memory_viz.py VIEWER SNAPSHOT"""

import collections
import importlib.util
import json
import pickle
import sys

spec = importlib.util.spec_from_file_location("memory_viz", sys.argv[1])
viewer = importlib.util.module_from_spec(spec)
spec.loader.exec_module(viewer)
with open(sys.argv[2], "rb") as file:
    snapshot = pickle.load(file)

# Both have assertions of their own.
summary = viewer.segsum(snapshot)
history = viewer.trace(snapshot)
# Other figures of the same tools: bytes by stack.
stacks = viewer.memory(snapshot, format_flamegraph=lambda lines: lines)

PAGE = 2 << 20
live = peak = mapped = 0
# How many bytes of each page are mapped, and how many blocks lie in it: the viewer draws every block in a segment.
pages, held = collections.Counter(), collections.Counter()


def each_page(entry):
    first, end = entry["addr"], entry["addr"] + entry["size"]
    for page in range(first // PAGE, (end - 1) // PAGE + 1):
        yield page, min(end, (page + 1) * PAGE) - max(first, page * PAGE)


for entry in snapshot["device_traces"][0]:
    action = entry["action"]
    sign = {"alloc": 1, "free_completed": -1, "segment_map": 1, "segment_unmap": -1}.get(action)
    if sign is None:
        continue
    of_blocks = action in ("alloc", "free_completed")
    if of_blocks:
        live += sign * entry["size"]
        peak = max(peak, live)
    else:
        mapped += sign * entry["size"]
    for page, size in each_page(entry):
        (held if of_blocks else pages)[page] += sign * size
        assert 0 <= held[page] <= pages[page] <= PAGE, (entry, page)
blocks = [block for segment in snapshot["segments"] for block in segment["blocks"]]
print(json.dumps({
    "reserved": sum(segment["total_size"] for segment in snapshot["segments"]),
    "live": sum(b["requested_size"] for b in blocks if b["state"] == "active_allocated"),
    "walked_live": live,
    "walked_peak": peak,
    "walked_reserved": mapped,
    "failed": sum(entry["action"] == "oom" for entry in snapshot["device_traces"][0]),
    "segsum": summary,
    "trace_lines": len(history.splitlines()),
    "stacks": sorted({line.split(";")[2].rsplit(" ", 1)[0] for line in stacks.splitlines()}),
}))
