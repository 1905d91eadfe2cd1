#!/usr/bin/env python3
"""Prints what a bundle and the peers' script recorded on a GPU as the tables of docs/measured.md.

  python3 tables.py RECORD… [--simulated DOCUMENT…]

RECORD is what `run --record` of a bundle or `peers/replay.py --record` appended to, or a document of either; of a
workload on a stack the last row counts. DOCUMENT is what `vmem bench` or `vmem replay` wrote with `--json` of the same
workloads on the simulated device: rows that differ from it by more than 2 % in reserved bytes or driver calls follow.
Exits with 1 if a cell or a row failed.
"""
import argparse
import collections
import json
import sys

# vmem's sides from Python, and the stacks of the program that they are.
SAME = {"vmem": "a", "vmem-lazy": "a-bare"}
MOST = 0.02


def documents(path):
    """What a file has: one document, or one a line."""
    with open(path) as file:
        text = file.read()
    try:
        return [json.loads(text)]
    except ValueError:
        found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # cut short
    return found


class Measured:
    def __init__(self):
        self.cells, self.rows, self.failed, self.about = {}, {}, [], set()

    def add(self, document):
        for part in document.get("parts", []):
            if part["exit"]:
                self.failed.append(f"part {part['name']} ended with {part['exit']}: {part['log'].strip()[-200:]}")
            self.add(part["document"] or {})
        device = document.get("device") or {}
        if device.get("name") and "started" in document:
            self.about.add(f"{document['started']}: {device['name']}, CUDA {device.get('cuda_version')}")
        elif device.get("name"):
            self.about.add(f"{device['name']}, {device.get('driver')}")
        for cell in document.get("cells", []):
            self.cells[cell["check"], cell["tier"]] = cell
        # Microbenchmarks have rows as well, which are of no workload.
        for row in document.get("rows", [document]):
            if "workload" in row:
                self.rows[row["workload"], row["tier"]] = row


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def ordered(keys):
    return list(dict.fromkeys(keys))


def matrix(measured):
    tiers = ordered(tier for _, tier in measured.cells)
    counts = collections.Counter((cell["tier"], cell["result"]) for cell in measured.cells.values())
    checks = len({check for check, _ in measured.cells})
    rows = [[name] + [str(counts[tier, result]) for tier in tiers]
            for name, result in (("passed", "pass"), ("skipped", "skip"), ("failed", "fail"))]
    return table([f"{checks} checks", *tiers], rows)


def figure(row, what):
    """A cell of a table: reserved over live, or nanoseconds a pair."""
    if row is None:
        return "–"
    if not row["passed"]:
        return "not run" if not row.get("failure") else "failed"
    if what == "ratio":
        value = ratio(row)
        return "–" if value is None else f"{value:.4f}"
    return "–" if row.get("ns_per_pair") is None else f"{row['ns_per_pair']:,.0f}"


def ratio(row):
    live, reserved = row.get("peak_live_bytes"), row.get("peak_reserved_bytes")
    return reserved / live if live and reserved is not None else None


def of(measured, tiers, what):
    workloads = ordered(workload for workload, tier in measured.rows if tier in tiers)
    rows = []
    for workload in workloads:
        here = [measured.rows.get((workload, tier)) for tier in tiers]
        live = next((row["peak_live_bytes"] for row in here if row and row.get("peak_live_bytes")), 0)
        rows.append([workload, f"{live / 2**20:,.0f}"] + [figure(row, what) for row in here])
    return table(["", "live, MiB", *tiers], rows)


def differences(measured, simulated):
    """Rows of vmem's stacks that differ from the simulated ones, as lines of a table."""
    rows = []
    for (workload, tier), row in measured.rows.items():
        other = simulated.get((workload, SAME.get(tier, tier.removeprefix("rust-"))))
        if other is None or not row["passed"] or not other["passed"]:
            continue
        pairs = [("reserved over live", ratio(row), ratio(other))]
        pairs += [(text, row.get(key), other.get(key)) for text, key in (
            ("driver calls", "driver_calls"), ("driver calls from the second pass on", "driver_calls_steady"))]
        for what, found, expected in pairs:
            if None not in (found, expected) and abs(found - expected) > MOST * max(expected, 1e-9):
                rows.append([f"{workload}, {tier}: {what}", f"{expected:.4g}", f"{found:.4g}", ""])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("record", nargs="+")
    parser.add_argument("--simulated", nargs="+", default=[], metavar="DOCUMENT")
    options = parser.parse_args()
    measured = Measured()
    for path in options.record:
        for document in documents(path):
            measured.add(document)
    print("\n".join(sorted(measured.about)) + "\n")
    if measured.cells:
        print(matrix(measured))
    tiers = ordered(tier for _, tier in measured.rows)
    # Only the peers' script knows of a row how much was verified.
    from_python = [t for t in tiers if any("verified_bytes" in row for (_, tier), row in measured.rows.items() if tier == t)]
    from_rust = [tier for tier in tiers if tier not in from_python]
    if tiers:
        print("Reserved over live:\n\n" + of(measured, [tier for tier in tiers if tier not in ("nothing", "driver")], "ratio"))
    for language, those in (("Python", from_python), ("Rust", from_rust)):
        if those:
            print(f"Nanoseconds a pair, from {language}:\n\n" + of(measured, those, "ns"))
    if options.simulated:
        simulated = {(row["workload"], row["tier"]): row
                     for path in options.simulated for document in documents(path) for row in document["rows"]}
        rows = differences(measured, simulated)
        print(table(["What", "Simulated", "Measured", "Why"], rows) if rows else "As simulated, within 2 %.\n")
    for (workload, tier), row in measured.rows.items():
        if row.get("failure") or row.get("wrong_words") or row.get("overlaps"):
            measured.failed.append(f"{workload} on {tier}: {row.get('failure') or 'wrong bytes'}")
    measured.failed += [f"{check} on {tier}: {cell['reason']}" for (check, tier), cell in measured.cells.items()
                        if cell["result"] == "fail"]
    for line in measured.failed:
        print(f"FAILED: {line}")
    return 1 if measured.failed else 0


if __name__ == "__main__":
    sys.exit(main())
