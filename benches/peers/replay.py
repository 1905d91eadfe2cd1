#!/usr/bin/env python3
"""Replays traces through vmem and the allocators that it is compared with, on a real device.

Each that is installed runs in a process of its own; what is not installed is named and skipped.
Needs nothing but Python 3.11 or newer and a CUDA driver, and says so where there is none.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from vmem_peers import rust, traces
from vmem_peers.driver import Driver, NoDriver
from vmem_peers.measure import TooLarge, measure
from vmem_peers.stacks import ALL, OutOfMemory, Skipped

SCHEMA = "vmem-peers/1"
# Of the card's free memory the most that is used, unless asked otherwise.
SHARE = 0.8


def main():
    arguments = parse()
    if arguments.child:
        return child(arguments)
    try:
        loaded = load(arguments)
    except traces.TraceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    device, missing = about_device(arguments)
    started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    report = {"schema": SCHEMA, "started": started, "device": device, "rows": [], "skipped": []}

    def add(row):
        report["rows"].append(row)
        record(arguments.record, {"started": started, "device": device, **row})

    if missing:
        print(f"no device: {missing}", file=sys.stderr)
    for name in arguments.peer:
        if missing and ALL[name].NEEDS_DRIVER:
            report["skipped"].append({"tier": name, "why": missing})
            continue
        for at, trace in enumerate(loaded):
            print(f"{trace.name} on {name}", file=sys.stderr)
            row, why = run_child(name, at, trace.name, arguments)
            if why is not None:
                report["skipped"].append({"tier": name, "why": why})
                break
            add(row)
    if arguments.program and not missing:
        run_program(loaded, arguments, add)
    report["rows"].sort(key=lambda row: [trace.name for trace in loaded].index(row["workload"]))
    to = sys.stderr if arguments.json == "-" else sys.stdout
    print_table(report, to)
    if arguments.json:
        text = json.dumps(report, indent=2) + "\n"
        if arguments.json == "-":
            sys.stdout.write(text)
        else:
            Path(arguments.json).write_text(text)
    return 0 if all(sound(row) for row in report["rows"]) else 1


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", nargs="*", help="lifetime CSVs or RMM logs "
                        "[default: two small random ones]")
    parser.add_argument("--peer", action="append", choices=list(ALL), metavar="NAME",
                        help=f"only this one, again for more: {', '.join(ALL)}")
    parser.add_argument("--no-verify", action="store_true",
                        help="neither fill blocks nor check them before they are freed")
    parser.add_argument("--limit", type=int, metavar="BYTES",
                        help="the most to hold of the card "
                             f"[default: {SHARE * 100:.0f} %% of what is free]")
    parser.add_argument("--device", type=int, default=0, metavar="N", help="which card")
    parser.add_argument("--timeout", type=float, default=300, metavar="SECONDS",
                        help="how long one peer may take for one trace")
    parser.add_argument("--json", metavar="PATH", help="write the rows as JSON too; - is stdout, "
                        "the table then goes to stderr")
    parser.add_argument("--record", metavar="PATH", help="append a line of JSON for each row, as "
                        "soon as it is there")
    parser.add_argument("--program", metavar="PATH", help="the program vmem or vmem-lab: rows of "
                        "vmem called from Rust, in the same run")
    parser.add_argument("--tier", default=rust.TIERS, metavar="TIERS",
                        help="the stacks of that program [default: %(default)s]")
    parser.add_argument("--child", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--at", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.peer = arguments.peer or list(ALL)
    if arguments.program and not arguments.trace:
        parser.error("--program needs files of traces")
    return arguments


def run_program(loaded, arguments, add):
    """vmem from Rust, on the same files."""
    for path, trace in zip(arguments.trace, loaded):
        print(f"{trace.name} on {arguments.program}", file=sys.stderr)
        for row in rust.rows(path, trace.name, arguments):
            add(row)


def record(path, line):
    """Appends a line to a record. A line that was cut short stays one of its own."""
    if not path:
        return
    with open(path, "a+b") as file:
        cut = file.tell() and (file.seek(-1, os.SEEK_END), file.read())[1] != b"\n"
        file.write((b"\n" if cut else b"") + json.dumps(line).encode() + b"\n")


def load(arguments):
    return [traces.read(path) for path in arguments.trace] or traces.defaults()


def about_device(arguments):
    """What the device is, or why there is none. Asked in a process of its own, so that this one
    holds nothing of the card."""
    code = ("import json, sys; from vmem_peers.driver import Driver, NoDriver\n"
            "try: print(json.dumps([Driver(int(sys.argv[1])).about(), None]))\n"
            "except NoDriver as error: print(json.dumps([None, str(error)]))")
    done = subprocess.run([sys.executable, "-c", code, str(arguments.device)],
                          cwd=Path(__file__).parent, capture_output=True, text=True)
    if done.returncode:
        return None, f"asking the driver ended with {done.returncode}: {last_line(done.stderr)}"
    return json.loads(done.stdout)


def run_child(name, at, workload, arguments):
    """The row of one peer on one trace, or why the peer is skipped. In a process of its own: it may
    need settings of its own, and what it leaves on the card ends with it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        command = [sys.executable, __file__, "--child", str(path), "--peer", name,
                   "--at", str(at), "--device", str(arguments.device), *arguments.trace]
        if arguments.no_verify:
            command.append("--no-verify")
        if arguments.limit is not None:
            command += ["--limit", str(arguments.limit)]
        environment = {**os.environ, **ALL[name].ENVIRONMENT}
        try:
            done = subprocess.run(command, env=environment, timeout=arguments.timeout,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  errors="replace")
            if done.returncode == 0:
                row, why = json.loads(path.read_text())
                return row and {"workload": workload, "tier": name, **row}, why
            why = f"its process ended with {done.returncode}: {last_line(done.stderr)}"
        except subprocess.TimeoutExpired:
            why = f"it took over {arguments.timeout:.0f} s"
    row = {"workload": workload, "tier": name, "passed": False, "broken": True, "failure": why}
    return row, None


def child(arguments):
    """Replays one trace through one peer, and leaves the row, or why it is skipped, in a file."""
    [name] = arguments.peer
    kind = ALL[name]
    row = why = None
    try:
        driver = Driver(arguments.device) if kind.NEEDS_DRIVER else None
        limit = arguments.limit
        if driver is not None:
            free, _ = driver.memory()
            limit = min(free, limit) if limit is not None else int(free * SHARE)
        trace = load(arguments)[arguments.at]
        row = measure(trace, kind(driver, limit), driver, limit, not arguments.no_verify)
    except TooLarge as error:
        row = {"passed": False, "note": str(error)}
    except OutOfMemory as error:
        row = {"passed": False, "failures": 1, "failure": str(error)}
    except (NoDriver, Skipped) as error:
        why = str(error)
    Path(arguments.child).write_text(json.dumps([row, why]))
    return 0


def sound(row):
    """Whether nothing went wrong; running out of memory is a result."""
    return not (row.get("broken") or row.get("wrong_words") or row.get("overlaps"))


def print_table(report, to):
    device = report["device"]
    if device:
        gib = device["total_bytes"] / 2**30
        print(f"{device['name']}, {gib:.1f} GiB, CUDA {device['cuda_version']}\n", file=to)
    heads = ["workload", "tier", "pairs", "peak live", "reserved", "ratio", "on card", "calls",
             "ns/pair", "failures", "verified"]
    lines = [heads] + [cells(row) for row in report["rows"]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        padded = [cell.ljust(width) if at < 2 else cell.rjust(width)
                  for at, (cell, width) in enumerate(zip(line, widths))]
        print("  ".join(padded).rstrip(), file=to)
    print(file=to)
    for tier, stack in dict((row["tier"], row.get("stack")) for row in report["rows"]).items():
        if stack:
            print(f"{tier} = {stack}", file=to)
    for row in report["rows"]:
        for kind, text in (("FAILED", row.get("failure")), ("note", row.get("note"))):
            if text:
                print(f"{kind}: {row['workload']} on {row['tier']}: {text}", file=to)
        if row.get("wrong_words") or row.get("overlaps"):
            print(f"CORRUPTED: {row['workload']} on {row['tier']}: {row['wrong_words']} words were "
                  f"not as written, {row['overlaps']} blocks overlapped", file=to)
    for skipped in report["skipped"]:
        print(f"skipped: {skipped['tier']}: {skipped['why']}", file=to)


def cells(row):
    live, reserved = row.get("peak_live_bytes"), row.get("peak_reserved_bytes")
    ratio = f"{reserved / live:.4f}" if live and reserved is not None else "-"
    ns = row.get("ns_per_pair")
    verified = "-"
    if row.get("verified_bytes") is not None:
        verified = size(row["verified_bytes"]) if sound(row) else "WRONG"
    return [row["workload"], row["tier"], shown(row.get("allocations")), size(live), size(reserved),
            ratio, size(row.get("card_bytes")), shown(row.get("driver_calls")),
            "-" if ns is None else f"{ns:.0f}", shown(row.get("failures")), verified]


def shown(figure):
    return "-" if figure is None else str(figure)


def size(figure):
    """An amount of memory to four digits at most."""
    if figure is None:
        return "-"
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if figure >= unit:
            return f"{figure / unit:.4g} {name}"
    return f"{figure} B"


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


if __name__ == "__main__":
    sys.exit(main())
