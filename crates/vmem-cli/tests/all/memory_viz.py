"""What PyTorch's own tools make of a snapshot, as JSON: python memory_viz.py VIEWER SNAPSHOT"""

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

live = peak = mapped = 0
for entry in snapshot["device_traces"][0]:
    if entry["action"] == "alloc":
        live += entry["size"]
    elif entry["action"] == "free_completed":
        live -= entry["size"]
    elif entry["action"] == "segment_map":
        mapped += entry["size"]
    elif entry["action"] == "segment_unmap":
        mapped -= entry["size"]
    peak = max(peak, live)
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
