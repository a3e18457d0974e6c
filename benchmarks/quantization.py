"""What quantization brings and costs: time, size, instructions and accuracy of each precision.

    python benchmarks/quantization.py [--models A,B] [--precisions A,B] [--threads N,M] [--quick]
        [--no-arm64] [--json FILE] [--markdown FILE] [--png FILE]

Ratios alone: of our quantized build to our fp32 build, and to onnxruntime on the same Q/DQ file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.targets.errors import AutoglmError, UserInputError
from benchmarks.aarch64.tools import build_tools
from benchmarks.latency import thread_counts
from benchmarks.models.catalog import Case, choose
from benchmarks.own_process import ask
from benchmarks.quantized.instructions import count_precisions
from benchmarks.quantized.picture import write_picture
from benchmarks.quantized.subjects import FLOAT, PRECISIONS, SUBJECTS
from benchmarks.quantized.tables import conclusions, markdown, table_text
from benchmarks.record import write_section

MEASURE = Path(__file__).parent / "quantized" / "measure_precisions.py"
#: Name of the section in the JSON file.
SECTION = "quantization"
_TARGET = "android-arm64-v8.2"
#: Seconds for all precisions of a model.
_TIME_LIMIT = 3600
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
    cases = choose(_names(options.models) or list(SUBJECTS))
    precisions = _precisions(options.precisions)
    counts = thread_counts(options.threads or "1")
    instructions = {} if options.no_arm64 else _instructions(cases, precisions)
    rows: list[Row] = []
    for case in cases:
        for threads in counts:
            print(f"{case.name}, threads {threads} ...", file=sys.stderr, flush=True)
            rows += _measure(case, threads, precisions, instructions, options.quick)
            _write(rows, options)
    print(table_text(rows))
    print("\n".join(["", *conclusions(rows)]))
    return 0 if all(row.get("right") or row.get("error") for row in rows) else 1


def _measure(
    case: Case, threads: int, precisions: list[str], instructions: dict[Any, Row], quick: bool
) -> list[Row]:
    request = {"model": case.name, "threads": threads, "precisions": precisions, "quick": quick}
    found = ask(MEASURE, request, _TIME_LIMIT)
    about = {"model": case.name, "threads": threads}
    if "rows" not in found:
        return [about | {"precision": name, "error": found["error"]} for name in precisions]
    return [
        about | row | {"arm64": instructions.get((case.name, row["precision"]), {})}
        for row in found["rows"]
    ]


def _instructions(cases: list[Case], precisions: list[str]) -> dict[Any, Row]:
    tools = build_tools()
    return {
        (case.name, precision): row
        for case in cases
        for precision, row in count_precisions(tools, case, precisions, _TARGET).items()
    }


def _write(rows: list[Row], options: argparse.Namespace) -> None:
    if options.json:
        settings = {"quick": options.quick, "arm64": _TARGET}
        write_section(options.json, SECTION, rows, settings, {"conclusions": conclusions(rows)})
    if options.markdown:
        options.markdown.write_text(markdown(rows), encoding="utf-8")
    if options.png:
        write_picture(rows, options.png)


def _precisions(text: str) -> list[str]:
    """The precisions of a list, float32 always among them."""
    wanted = _names(text) or list(PRECISIONS)
    for name in wanted:
        if name not in PRECISIONS:
            raise UserInputError(
                f"there is no precision {name!r}",
                where="--precisions",
                hint=f"choose from: {', '.join(PRECISIONS)}",
            )
    return list(dict.fromkeys([FLOAT, *wanted]))


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    option = parser.add_argument
    option("--models", default="", metavar="A,B", help=f"by default {','.join(SUBJECTS)}")
    option("--precisions", default="", metavar="A,B", help=f"by default {','.join(PRECISIONS)}")
    option("--threads", default="", metavar="N,M", help="by default 1")
    option("--quick", action="store_true", help="fewer repetitions")
    option("--no-arm64", action="store_true", help="count no instructions under qemu")
    option("--json", type=Path, metavar="FILE", help="write everything that was measured")
    option("--markdown", type=Path, metavar="FILE", help="write the table as Markdown")
    option("--png", type=Path, metavar="FILE", help="draw the ratios")
    return parser


if __name__ == "__main__":
    sys.exit(main())
