#!/usr/bin/env python3
"""Compares the modes of a record of `run.py`: python3 compare.py FILE...

A line a suite and mode: tests, passed as without vmem, and what differs. Then every test that passes as it is and
does not with vmem, with its error; tests that differ and are in `expected.json` have the reason from there, and
count apart. Then what was not run, by name. Exits with 1 if a test differs that is not expected.
"""
import argparse
import collections
import fnmatch
import json
import pathlib

GOOD = {"passed", "xfailed"}
NOT_RUN = {"not run", "not started", "not collected"}
EXPECTED = pathlib.Path(__file__).with_name("expected.json")


def read(files):
    """Outcomes by suite, test and mode; the last line of a test is the one that counts. And blocks that vmem served."""
    outcomes, blocks = collections.defaultdict(lambda: collections.defaultdict(dict)), collections.Counter()
    for name in files:
        with open(name) as file:
            for text in file:
                try:
                    line = json.loads(text)
                except ValueError:
                    # The last line of a machine that was taken away.
                    continue
                if "vmem_blocks" in line:
                    count = line["vmem_blocks"]
                    blocks[line["suite"], line["mode"]] += count if isinstance(count, int) else 0
                else:
                    outcomes[line["suite"]][line["test"]][line["mode"]] = line
    return outcomes, blocks


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
    outcomes, blocks = read(options.files)
    unexpected = 0
    for suite, tests in sorted(outcomes.items()):
        modes = sorted({mode for lines in tests.values() for mode in lines} - {"native"})
        native = collections.Counter(lines["native"]["outcome"] for lines in tests.values() if "native" in lines)
        print(f"## {suite}\n\nnative: " + ", ".join(f"{count} {what}" for what, count in native.most_common()))
        for mode in modes:
            both = {t: l for t, l in tests.items() if "native" in l and mode in l}
            good = {t: l for t, l in both.items() if l["native"]["outcome"] in GOOD}
            worse = {t: l[mode] for t, l in good.items() if l[mode]["outcome"] not in GOOD | NOT_RUN}
            absent = [t for t, l in good.items() if l[mode]["outcome"] in NOT_RUN]
            reasons = {t: reason(expected, suite, mode, line) for t, line in worse.items()}
            known = [t for t in worse if reasons[t]]
            better = [t for t, l in both.items() if l["native"]["outcome"] not in GOOD | NOT_RUN | {"skipped"}
                      and l[mode]["outcome"] in GOOD]
            same = len(good) - len(worse) - len(absent)
            unexpected += len(worse) - len(known)
            print(f"\n### {suite}, {mode}\n\n{same} of {len(good)} that pass natively pass; {len(worse) - len(known)} differ, "
                  f"{len(known)} differ as expected, {len(absent)} not run; {len(better)} pass only here. "
                  f"vmem served {blocks[suite, mode]:,} blocks.")
            if not blocks[suite, mode]:
                print("\nNOTHING WAS ALLOCATED FROM VMEM: this mode says nothing.")
                unexpected += 1
            for test in sorted(worse, key=lambda t: (bool(reasons[t]), t)):
                said = worse[test]
                print(f"* `{test}`: {said['outcome']}: {said.get('error', '')[:240]}"
                      + (f" (expected: {reasons[test]})" if reasons[test] else ""))
            for test in sorted(better):
                print(f"* passes only with vmem: `{test}`")
        missing = sorted(
            f"`{test}` ({mode}: {line['outcome']}{': ' + line['error'][:200] if line.get('error') else ''})"
            for test, lines in tests.items() for mode, line in lines.items() if line["outcome"] in NOT_RUN
        )
        if missing:
            print(f"\n### {suite}, not run\n")
            print("\n".join(f"* {line}" for line in missing))
        print()
    raise SystemExit(1 if unexpected else 0)


if __name__ == "__main__":
    main()
