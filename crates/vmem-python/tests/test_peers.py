"""vmem as a side of the script that replays traces through it and its peers from Python."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

SCRIPT = pathlib.Path(__file__).parents[3] / "benches" / "peers" / "replay.py"

# Blocks of two streams, each freed on the other's, in the columns of RMM's logs.
TRACE = "Thread,Time,Action,Pointer,Size,Stream\n" + "".join(
    f"1,00:00:00:000000,{action},0x{number:x},{size},0x{stream:x}\n"
    for turn in range(40)
    for number, size in [(turn % 7 + 1, 3000 * (turn % 7 + 1))]
    for action, stream in [("allocate", turn % 2), ("free", 1 - turn % 2)]
)


@pytest.fixture
def replay(driver, tmp_path):
    """Runs the script on a trace, and returns its document and what it said."""
    if not SCRIPT.exists():
        pytest.skip("the package is tested outside of its repository")
    trace = tmp_path / "two-streams.csv"
    trace.write_text(TRACE)

    def run(*arguments):
        document = tmp_path / "document.json"
        command = [sys.executable, "-B", SCRIPT, trace, "--json", document, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ)
        return done, json.loads(document.read_text()) if document.exists() else None

    return run


def test_vmem_is_replayed_with_either_footprint(replay):
    done, document = replay("--peer", "vmem", "--peer", "vmem-lazy", "--peer", "nothing")
    assert done.returncode == 0, done.stderr
    rows = {row["tier"]: row for row in document["rows"]}
    assert document["skipped"] == [] and rows.keys() == {"vmem", "vmem-lazy", "nothing"}
    for tier, footprint in [("vmem", "tight"), ("vmem-lazy", "lazy")]:
        row = rows[tier]
        assert row["passed"] and row["failures"] == 0 and row["ns_per_pair"] > 0, row
        assert row["stack"].startswith("vmem ") and f"tier A, {footprint} footprint" in row["stack"]
        assert row["peak_live_bytes"] == rows["nothing"]["peak_live_bytes"] == 21000
        assert row["peak_reserved_bytes"] == 2 << 20


def test_what_vmem_may_hold_is_bounded(replay):
    done, document = replay("--peer", "vmem", "--limit", str(1 << 20))
    assert done.returncode == 0, done.stderr
    [row] = document["rows"]
    # It takes 2 MiB where it may.
    assert row["passed"] and 21000 <= row["peak_reserved_bytes"] <= 1 << 20, row


def test_rows_are_appended_to_a_record_that_was_cut_short(replay, tmp_path):
    record = tmp_path / "record.jsonl"
    record.write_text('{"workload": "cut')
    for _ in range(2):
        done, document = replay("--peer", "vmem", "--record", record)
        assert done.returncode == 0, done.stderr
    lines = record.read_text().splitlines()
    assert lines[0] == '{"workload": "cut' and len(lines) == 3
    last = json.loads(lines[2])
    assert last["tier"] == "vmem" and last["started"] == document["started"]
    assert last["device"]["name"] == document["device"]["name"]


def test_a_record_becomes_tables_and_names_what_the_simulation_says_otherwise(replay, tmp_path):
    record, simulated = tmp_path / "record.jsonl", tmp_path / "simulated.json"
    done, document = replay("--peer", "nothing", "--peer", "vmem", "--record", record)
    assert done.returncode == 0, done.stderr
    [row] = [row for row in document["rows"] if row["tier"] == "vmem"]

    def tables(expected):
        expected = {"workload": "two-streams", "tier": "a", "passed": True, **expected}
        simulated.write_text(json.dumps({"rows": [expected]}))
        command = [sys.executable, "-B", SCRIPT.parents[1] / "tables.py", record, "--simulated", simulated]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    same = {key: row[key] for key in ("peak_live_bytes", "peak_reserved_bytes")}
    said = tables(same)
    assert document["started"] in said and "As simulated, within 2 %." in said
    assert "Nanoseconds a pair, from Python:" in said and "from Rust" not in said
    assert f"| two-streams | 0 | {(2 << 20) / 21000:.4f} |" in said
    said = tables({**same, "peak_reserved_bytes": 1 << 20})
    assert "| two-streams, vmem: reserved over live | 49.93 | 99.86 |" in said


def test_rows_of_a_program_keep_apart_from_those_of_python(replay, tmp_path):
    program = tmp_path / "program"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        "asked = dict(zip(sys.argv[2::2], sys.argv[3::2]))\n"
        "assert sys.argv[1] == 'replay' and asked['--device'] == 'cuda:0'\n"
        "rows = [{'tier': tier, 'passed': tier == 'a'} for tier in ('a', 'b')]\n"
        "print('b had no room', file=sys.stderr)\n"
        "open(sys.argv[sys.argv.index('--json') + 1], 'w').write(json.dumps({'rows': rows}))\n"
        "sys.exit(1)\n"
    )
    program.chmod(0o755)
    done, document = replay("--peer", "nothing", "--program", program)
    # Running out of memory is a result.
    assert done.returncode == 0, done.stderr
    rows = {row["tier"]: row for row in document["rows"]}
    assert rows.keys() == {"nothing", "rust-a", "rust-b"}
    assert rows["rust-a"]["passed"] and "failure" not in rows["rust-a"]
    assert "ended with 1: b had no room" in rows["rust-b"]["failure"]


def test_a_program_that_cannot_run_is_a_broken_row(replay):
    done, document = replay("--peer", "nothing", "--program", "/no/such/program")
    assert done.returncode == 1
    assert [row["tier"] for row in document["rows"]] == ["nothing", "rust"]
    assert "did not start" in document["rows"][1]["failure"]
