"""What our untuned builds execute on an arm64 phone, against onnxruntime, without a phone.

    python benchmarks/arm64.py [--models A,B] [--targets A,B] [--json FILE] [--compare FILE]
    python benchmarks/arm64.py --profile MODEL [--targets A,B]

Counts the instructions of a run under qemu, on one thread, and has llvm-mca analyse inner loops.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.targets.errors import AutoglmError, UserInputError
from benchmarks.aarch64.count_instructions import Counted
from benchmarks.aarch64.hot_code import hot_loops, kernel_counts
from benchmarks.aarch64.inner_loop import main_loop
from benchmarks.aarch64.machine_code_analysis import CORES, analyse, find_llvm_mca
from benchmarks.aarch64.record import read_counts, write_record
from benchmarks.aarch64.sides import (
    TOLERANCE,
    count_onnxruntime,
    count_ours,
    onnxruntime_instructions,
    worst_error,
)
from benchmarks.aarch64.tables import (
    analyses_text,
    comparison_text,
    counts_text,
    kernels_text,
    loop_text,
)
from benchmarks.aarch64.tools import Tools, build_tools, qemu_version
from benchmarks.aarch64.trial import CPUS, Trial, prepare
from benchmarks.models.catalog import Case, choose

Row = dict[str, Any]

#: The models whose inner loops are analysed.
ANALYSED = ("matmul", "conv1x1", "depthwise3x3", "gemv")
#: The heaviest loops that a profile shows.
_SHOWN_LOOPS = 4


def main() -> int:
    """Count, print the tables, write the file that was asked for; 1 if a result is wrong."""
    options = _parser().parse_args()
    try:
        return profile(options) if options.profile else run(options)
    except AutoglmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def run(options: argparse.Namespace) -> int:
    """Count every model for every target."""
    targets, cases = _targets(options), choose(_names(options.models))
    llvm_mca = "" if options.no_mca else find_llvm_mca()
    tools = build_tools()
    earlier = read_counts(options.compare) if options.compare else []
    versions = {"qemu": qemu_version(), "llvm-mca": Path(llvm_mca).name}
    counts: list[Row] = []
    analyses: list[Row] = []
    for target in targets:
        for case in cases:
            print(f"{target}  {case.name} ...", file=sys.stderr, flush=True)
            try:
                row, loops = measure(tools, case, target, llvm_mca)
            # Whatever is wrong with one model, it must not cost the numbers of the others.
            except Exception as error:
                said = str(error) if isinstance(error, AutoglmError) else repr(error)[:200]
                row, loops = {"model": case.name, "target": target, "error": said}, []
            counts.append(row)
            analyses += loops
            if options.json:
                write_record(options.json, counts, analyses, versions)
    print(counts_text(counts))
    if analyses:
        print("\nMain loops, as llvm-mca sees them\n" + analyses_text(analyses))
    if options.compare:
        print("\n" + comparison_text(earlier, counts))
    return 0 if all(row.get("right") for row in counts) else 1


def measure(tools: Tools, case: Case, target: str, llvm_mca: str) -> tuple[Row, list[Row]]:
    """Count one model on both sides; return its row, and a row for each analysed loop and core."""
    with tempfile.TemporaryDirectory() as folder:
        trial = prepare(case, target, Path(folder))
        ours = count_ours(tools, trial)
        error = worst_error(ours, trial.expected)
        analyses = _analyses(tools, trial, ours, llvm_mca) if llvm_mca else []
        theirs = onnxruntime_instructions(tools, trial)
    row = {
        "model": case.name,
        "group": case.group,
        "target": target,
        "cpu": trial.cpu,
        "ours": ours.instructions,
        "onnxruntime": theirs,
        "floor": trial.floor,
        "ratio": ours.instructions / theirs,
        "relative_error": error,
        "right": error is not None and error <= TOLERANCE,
    }
    return row, analyses


def _analyses(tools: Tools, trial: Trial, ours: Counted, llvm_mca: str) -> list[Row]:
    if trial.case.name not in ANALYSED:
        return []
    rows = []
    for side, counted in (("ours", ours), ("onnxruntime", count_onnxruntime(tools, trial))):
        loop = main_loop(hot_loops(counted))
        if loop is None:
            continue
        about = {"model": trial.case.name, "target": trial.target, "side": side}
        about |= {"share": loop.executed / counted.instructions, **loop.to_json()}
        rows += [about | asdict(analyse(llvm_mca, loop, core)) for core in CORES]
    return rows


def profile(options: argparse.Namespace) -> int:
    """Print our kernels by their instructions, and the heaviest loops of both sides."""
    (case,) = choose([options.profile])
    llvm_mca = "" if options.no_mca else find_llvm_mca()
    tools = build_tools()
    for target in _targets(options):
        with tempfile.TemporaryDirectory() as folder:
            trial = prepare(case, target, Path(folder))
            ours = count_ours(tools, trial, kernels=True)
            print(
                f"{case.name} for {target}: ours, {ours.instructions / 1e6:.2f} M instructions, "
                f"the floor is {trial.floor / 1e6:.2f} M"
            )
            print(kernels_text(kernel_counts(ours, trial), ours.instructions))
            _print_loops(ours, llvm_mca)
            theirs = count_onnxruntime(tools, trial)
            print(f"\nonnxruntime, {theirs.instructions / 1e6:.2f} M instructions")
            _print_loops(theirs, llvm_mca)
    return 0


def _print_loops(counted: Counted, llvm_mca: str) -> None:
    for loop in hot_loops(counted)[:_SHOWN_LOOPS]:
        analyses = [analyse(llvm_mca, loop, core) for core in CORES] if llvm_mca else []
        print("\n" + loop_text(loop, counted.instructions, analyses))


def _targets(options: argparse.Namespace) -> list[str]:
    targets = _names(options.targets)
    for target in targets:
        if target not in CPUS:
            raise UserInputError(
                f"target {target!r} is not counted",
                where="--targets",
                hint=f"choose from: {', '.join(CPUS)}",
            )
    return targets


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", default="", metavar="A,B", help="models or groups (all)")
    parser.add_argument(
        "--targets", "--target", default=",".join(CPUS), metavar="A,B", help="%(default)s"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the rows to two sections of this file"
    )
    parser.add_argument("--compare", type=Path, metavar="FILE", help="the file of an earlier run")
    parser.add_argument("--profile", default="", metavar="MODEL", help="its kernels and loops")
    parser.add_argument("--no-mca", action="store_true", help="without llvm-mca")
    return parser


if __name__ == "__main__":
    sys.exit(main())
