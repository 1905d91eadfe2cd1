#!/usr/bin/env python3
"""Compares the modes of a record of `run.py`: python3 compare.py FILE...

A line a suite and mode: tests, passed as without vmem, and what differs. Then every test that passes as it is and
does not with vmem, with its error; tests that differ and are in `expected.json` have the reason from there, and
count apart. A test that a mode did not start, or has no line of, differs as well: its process may have crashed. Only
what there was no time for is not run. Then that, and what could not be collected, by name, and processes that ended
badly. Exits with 1 if a test or a process differs that is not expected, or there is nothing to compare.
"""
import argparse
import collections
import fnmatch
import json
import pathlib

GOOD = {"passed", "xfailed"}
# For want of time.
NOT_RUN = "not run"
# Nothing was found out: no test that passes natively.
UNTRIED = {NOT_RUN, "not started", "not collected"}
EXPECTED = pathlib.Path(__file__).with_name("expected.json")


def lines(name):
    """The lines of a record but for what is no JSON: the last line of a machine that was taken away is cut."""
    with open(name) as file:
        for text in file:
            try:
                yield json.loads(text)
            except ValueError:
                continue


class Record:
    """What files say: outcomes by suite, test and mode, of which the last line of a test counts; blocks that vmem
    served and processes that ended badly, by suite and mode; the modes of each suite that any line is of; and what its
    runs were made with."""

    def __init__(self, files):
        self.outcomes = collections.defaultdict(lambda: collections.defaultdict(dict))
        self.blocks, self.ended = collections.Counter(), collections.defaultdict(list)
        self.modes, self.about = collections.defaultdict(set), collections.defaultdict(list)
        for line in (line for name in files for line in lines(name)):
            where = line["suite"], line["mode"]
            # A line about a suite says which modes there should be.
            self.modes[line["suite"]] |= {line["mode"], *line.get("modes", [])} - {"native"}
            if "machine" in line:
                self.about[line["suite"]].append((line["machine"], line.get("tests_of")))
            if "vmem_blocks" in line:
                count = line["vmem_blocks"]
                self.blocks[where] += count if isinstance(count, int) else 0
            elif "ended" in line:
                self.ended[where].append(line)
            elif "test" in line:
                self.outcomes[line["suite"]][line["test"]][line["mode"]] = line


def reason(expected, suite, mode, line):
    """Why a test differs, by its name or by what it says."""
    for entry in expected:
        if (entry["suite"] == suite and mode in entry["modes"] and fnmatch.fnmatchcase(line["test"], entry.get("test", "*"))
                and entry.get("error", "") in line.get("error", "")):
            return entry["reason"]
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+")
    parser.add_argument("--expected", default=EXPECTED)
    options = parser.parse_args()
    with open(options.expected) as file:
        expected = json.load(file)
    record = Record(options.files)
    bad = 0
    for suite in sorted(record.modes):
        tests = record.outcomes[suite]
        native = {test: l["native"] for test, l in tests.items() if "native" in l}
        counts = collections.Counter(line["outcome"] for line in native.values())
        print(f"## {suite}\n\nnative: " + ", ".join(f"{count} {what}" for what, count in counts.most_common()))
        for machine, version in record.about[suite]:
            packages = ", ".join(f"{name} {of}" for name, of in machine.get("packages", {}).items())
            print(f"\n{machine['when']}: tests of {version or 'an unknown version'}, {packages}, {machine.get('devices')}")
        good = [test for test, line in native.items() if line["outcome"] in GOOD]
        if not good or not record.modes[suite]:
            print("\nNOTHING TO COMPARE: no test passes natively, or there is no other mode.")
            bad += 1
        for mode in sorted(record.modes[suite]):
            bad += compare(record, suite, mode, good, expected)
        missing = sorted(
            f"`{test}` ({mode}: {line['outcome']}{': ' + line['error'][:200] if line.get('error') else ''})"
            for test, of_modes in tests.items() for mode, line in of_modes.items() if line["outcome"] in UNTRIED
        )
        if missing:
            print(f"\n### {suite}, not run\n")
            print("\n".join(f"* {line}" for line in missing))
        print()
    raise SystemExit(1 if bad or not record.modes else 0)


def compare(record, suite, mode, good, expected):
    """Says how a mode differs from native, and returns how much of it is not expected."""
    tests = record.outcomes[suite]
    absent = {"outcome": "absent", "error": "the record has no line of it"}
    said = {test: tests[test].get(mode, absent | {"test": test}) for test in good}
    waiting = [test for test, line in said.items() if line["outcome"] == NOT_RUN]
    worse = {test: line for test, line in said.items() if line["outcome"] not in GOOD | {NOT_RUN}}
    reasons = {test: reason(expected, suite, mode, line) for test, line in worse.items()}
    unexpected = sum(not why for why in reasons.values())
    # What has no line of native differs from nothing, unless it was not even collected.
    uncollected = {test: of_modes[mode] for test, of_modes in tests.items()
                   if mode in of_modes and of_modes[mode]["outcome"] == "not collected" and test not in worse
                   and of_modes.get("native", {}).get("outcome") != "not collected"}
    better = [test for test, of_modes in tests.items()
              if mode in of_modes and of_modes[mode]["outcome"] in GOOD
              and of_modes.get("native", {}).get("outcome", "skipped") not in GOOD | UNTRIED | {"skipped"}]
    same = len(good) - len(worse) - len(waiting)
    print(f"\n### {suite}, {mode}\n\n{same} of {len(good)} that pass natively pass; {unexpected} differ, "
          f"{len(worse) - unexpected} differ as expected, {len(waiting)} not run; {len(better)} pass only here. "
          f"vmem served {record.blocks[suite, mode]:,} blocks.")
    for test in sorted(worse, key=lambda test: (bool(reasons[test]), test)):
        line = worse[test]
        print(f"* `{test}`: {line['outcome']}: {line.get('error', '')[:240]}"
              + (f" (expected: {reasons[test]})" if reasons[test] else ""))
    for test, line in sorted(uncollected.items()):
        print(f"* `{test}`: not collected: {line.get('error', '')[:240]}")
    for test in sorted(better):
        print(f"* passes only with vmem: `{test}`")
    natively = {line["file"] for line in record.ended[suite, "native"]}
    ended = [line for line in record.ended[suite, mode] if line["file"] not in natively]
    for line in ended:
        print(f"* a process ended with {line['ended']} in none of its tests, of {line['file']}: {line['error'][:240]}")
    empty = not record.blocks[suite, mode]
    if empty:
        print("\nNOTHING WAS ALLOCATED FROM VMEM: this mode says nothing.")
    return unexpected + len(uncollected) + len(ended) + empty


if __name__ == "__main__":
    main()
