"""What tuning gains on this machine, end to end: tuned builds against untuned ones and onnxruntime.

python benchmarks/tuning.py [--models A,B] [--threads N,M] [--trials N] [--records DIR] [--quick]
    [--json FILE] [--png FILE]
"""

from __future__ import annotations

import argparse
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.targets.errors import AutoglmError
from benchmarks.latency import thread_counts
from benchmarks.measure_tuned import TUNED, UNTUNED
from benchmarks.models.catalog import Case, choose
from benchmarks.own_process import ask
from benchmarks.plot import write_plot
from benchmarks.record import write_section
from benchmarks.tune_case import tune_case
from benchmarks.tuning_report import header_line, remarks, row_line, summary, summary_text

MEASURE = Path(__file__).with_name("measure_tuned.py")
#: Of the JSON file.
SECTION = "tuning"
RECORDS = Path(__file__).resolve().parent.parent / "build" / "records"
MODELS = "mobilenet_v2,minilm"
Row = dict[str, Any]


def main() -> int:
    """Tune, measure, print the table, write the files asked for; 1 if a result is wrong."""
    try:
        return run(_parser().parse_args())
    except AutoglmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Tune and measure every model on every number of threads."""
    cases = choose([name for name in options.models.split(",") if name])
    rows = []
    for case in cases:
        for threads in thread_counts(options.threads):
            rows.append(tune_and_measure(case, threads, options))
            # Progress goes elsewhere: the lines of standard output are one table.
            lines = [row_line(rows[-1])] if len(rows) > 1 else [header_line(), row_line(rows[-1])]
            print("\n".join(lines), flush=True)
            if options.json:
                settings = {"quick": options.quick, "trials": options.trials}
                write_section(options.json, SECTION, rows, settings, summary(rows))
    print("\n".join(["", summary_text(summary(rows)), *remarks(rows)]))
    if options.png:
        write_plot(rows, options.png, ours=TUNED, yardstick=UNTUNED)
    return 0 if all(row.get("right") for row in rows) else 1


def tune_and_measure(case: Case, threads: int, options: argparse.Namespace) -> Row:
    """Return the row of one model, with ``error`` if it failed."""
    row: Row = {"model": case.name, "group": case.group, "threads": threads}
    try:
        tuning = tune_case(case, threads, options.trials, options.records)
    # Whatever is wrong with one model, it must not cost the numbers of the others.
    except Exception as error:
        # Not an error of ours with a message, but a defect: whoever mends it wants the traceback.
        if not isinstance(error, AutoglmError):
            traceback.print_exc()
        return {**row, "error": (str(error) or repr(error)).splitlines()[0]}
    request = {
        "model": case.name,
        "threads": threads,
        "quick": options.quick,
        "records": str(options.records.absolute()),
    }
    return {**row, "tuning": tuning, **ask(MEASURE, request)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    option = parser.add_argument
    option("--models", default=MODELS, metavar="A,B", help=f"models or groups; by default {MODELS}")
    option("--threads", default="", metavar="N,M", help="by default 1,2")
    option("--trials", type=int, default=1000, metavar="N", help="of each model; 0 tunes nothing")
    option("--records", type=Path, default=RECORDS, metavar="DIR", help="by default build/records")
    option("--quick", action="store_true", help="fewer repetitions")
    option("--json", type=Path, metavar="FILE", help="write everything that was measured")
    option("--png", type=Path, metavar="FILE", help="draw the ratios")
    return parser


if __name__ == "__main__":
    sys.exit(main())
