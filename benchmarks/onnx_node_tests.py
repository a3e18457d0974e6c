"""How much of ONNX compiles, runs and is right on this machine: the `onnx` package's node tests.

    python benchmarks/onnx_node_tests.py [--filter TEXT] [--json FILE] [--importer-alone]

With ``--importer-alone`` the models go to TVM's importer and compiler as they are, for comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
# TVM binds the threads of every process to the same half of the cores; here are two processes.
os.environ.setdefault("TVM_BIND_THREADS", "0")

from benchmarks.node_cases import load_tests, make_case
from benchmarks.node_roads import OUTCOMES, Outcome, run_case
from benchmarks.worker_pool import Lost, run_all

WORKERS = 2
#: Seconds for one test, the start of TVM in a new worker included.
TIME_LIMIT = 60
#: Outcomes whose tests are listed by name.
LISTED = ("WRONG", "crash")


def main() -> int:
    """Run the tests, print the table, and write every outcome to a file if asked."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--filter", default="", metavar="TEXT", help="only tests of this name")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write each test's outcome")
    parser.add_argument("--importer-alone", action="store_true", help="TVM's importer as it is")
    options = parser.parse_args()

    tests = [test for test in load_tests() if options.filter in test.name]
    started = time.monotonic()
    rows = run_tests(tests, options.importer_alone)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    print(f"\r{len(rows)} tests in {time.monotonic() - started:.0f} s\n")
    print(table(list(rows.values())))
    for kind in LISTED:
        for name, row in rows.items():
            if row["outcome"] == kind:
                print(f"{kind}  {name}: {row['detail']}")
    return 0


def run_tests(tests: list[Any], importer_alone: bool) -> dict[str, dict[str, Any]]:
    """Return each test's outcome, detail and whether its types are supported, by its name."""

    def run(test: Any) -> tuple[Outcome, bool]:
        case = make_case(test)
        return run_case(case, importer_alone), case.supported_types

    rows: dict[str, dict[str, Any]] = {}
    for number, result in run_all(run, tests, WORKERS, TIME_LIMIT):
        if isinstance(result, Lost):
            supported = make_case(tests[number]).supported_types
            result = Outcome("crash", result.reason), supported
        outcome, supported = result
        rows[tests[number].name] = {
            "outcome": outcome.kind,
            "detail": outcome.detail,
            "supported_types": supported,
        }
        if sys.stderr.isatty():
            print(f"\r{len(rows)} of {len(tests)}", end="", file=sys.stderr, flush=True)
    return dict(sorted(rows.items()))


def table(rows: list[dict[str, Any]]) -> str:
    """Return counts and percentages by outcome, for all tests and for those of supported types."""
    columns = [rows, [row for row in rows if row["supported_types"]]]
    counts = [Counter(row["outcome"] for row in column) for column in columns]
    lines = [f"{'':14} {'all tests':>15} {'supported types':>17}"]
    for kind in OUTCOMES:
        cells = [
            f"{count[kind]:6} {100 * count[kind] / max(len(column), 1):6.1f} %"
            for count, column in zip(counts, columns, strict=True)
        ]
        lines.append(f"{kind:14} {cells[0]:>15} {cells[1]:>17}")
    return "\n".join([*lines, f"{'total':14} {len(columns[0]):6} {len(columns[1]):17}", ""])


if __name__ == "__main__":
    sys.exit(main())
