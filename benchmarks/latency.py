"""How fast our untuned builds for this machine are, against onnxruntime and other runtimes.

python benchmarks/latency.py [--models A,B] [--threads N,M] [--quick] [--json FILE]
    [--compare FILE] [--png FILE]
python benchmarks/latency.py --profile MODEL [--threads N]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.targets.errors import AutoglmError, UserInputError
from benchmarks.models.catalog import Case, choose
from benchmarks.own_process import ask
from benchmarks.peers.installed import YARDSTICK, choose_peers, excuses
from benchmarks.plot import write_plot
from benchmarks.profile_text import profile_text
from benchmarks.record import read_rows, write_record
from benchmarks.report import (
    comparison_text,
    header_line,
    remarks,
    row_line,
    summary,
    summary_text,
)

MEASURE = Path(__file__).with_name("measure.py")
Row = dict[str, Any]


def main() -> int:
    """Measure, print the table, write the files that were asked for; 1 if a result is wrong."""
    try:
        return run(_parser().parse_args())
    except AutoglmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Measure every model on every number of threads."""
    cases = choose([name for name in (options.profile or options.models).split(",") if name])
    counts = thread_counts(options.threads)
    peers = [name for name in choose_peers(options.peers) if name != YARDSTICK]
    earlier = read_rows(options.compare) if options.compare else []
    print(header_line(peers), flush=True)
    rows = []
    for case in cases:
        for threads in counts:
            rows.append(measure(case, threads, peers, options))
            print(row_line(rows[-1], peers), flush=True)
            if "profile" in rows[-1]:
                print(profile_text(rows[-1]), flush=True)
    _conclude(rows, earlier, options)
    return 0 if all(row.get("right") for row in rows) else 1


def measure(case: Case, threads: int, peers: list[str], options: argparse.Namespace) -> Row:
    """Measure one model in a process of its own; return its row, with ``error`` if it failed."""
    request = {
        "model": case.name,
        "threads": threads,
        "peers": peers,
        "quick": options.quick,
        "profile": bool(options.profile),
        "bundles": str(options.keep_bundles.absolute()) if options.keep_bundles else "",
        "reuse": options.reuse,
    }
    found = _ask(request)
    if "error" in found and found.pop("died", False) and peers:
        # No other runtime may take our own result with it.
        reason = f"not asked: with {', '.join(peers)} the process died"
        found = _ask(request | {"peers": []})
        found["peers_failed"] = dict.fromkeys(peers, reason)
    return {"model": case.name, "group": case.group, "threads": threads, **found}


def _ask(request: dict[str, Any]) -> Row:
    return ask(MEASURE, request)


def _conclude(rows: list[Row], earlier: list[Row], options: argparse.Namespace) -> None:
    print(f"\n{summary_text(summary(rows))}")
    for remark in [*excuses(), *remarks(rows)]:
        print(remark)
    if options.compare:
        print(f"\n{comparison_text(earlier, rows)}")
    if options.json:
        write_record(options.json, rows, {"quick": options.quick})
    if options.png:
        write_plot(rows, options.png)


def thread_counts(text: str) -> list[int]:
    """Return the numbers of a list such as ``"1,2"``; for none, 1 and 2.

    Raises
    ------
    UserInputError
        One of them is no number, or more than this machine has cores.
    """
    cores = len(os.sched_getaffinity(0))
    if not text:
        return [count for count in (1, 2) if count <= cores]
    counts = [int(word) if word.isdigit() else 0 for word in text.split(",")]
    if not all(1 <= count <= cores for count in counts):
        raise UserInputError(
            f"{text!r} is no list of numbers from 1 to {cores}, the cores of this machine",
            where="--threads",
            hint="for example: --threads 1",
        )
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    option = parser.add_argument
    option("--models", default="", metavar="A,B", help="models or groups; by default nearly all")
    option("--threads", default="", metavar="N,M", help="by default 1,2")
    option("--peers", default="all", metavar="A,B", help="all that are installed, or none, or some")
    option("--quick", action="store_true", help="fewer repetitions")
    option("--profile", default="", metavar="MODEL", help="time each kernel of this model too")
    option("--json", type=Path, metavar="FILE", help="write everything that was measured")
    option("--compare", type=Path, metavar="FILE", help="the JSON file of an earlier run")
    option("--png", type=Path, metavar="FILE", help="draw the ratios")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--keep-bundles", type=Path, metavar="DIR", help="write the bundles there")
    where.add_argument(
        "--reuse", action="store_true", help="compile only what our sources have changed since"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
