"""What quantization costs real networks at their task, against the float model.

python benchmarks/quantization_accuracy.py [--tasks A,B] [--recipes int8,fp16] [--tests N]
    [--no-bundle] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile
from autoglm_tvm.compiler.quantization.accuracy import weight_bytes
from autoglm_tvm.compiler.quantization.reference_runs import OnnxSession
from autoglm_tvm.compiler.quantize_onnx import quantize_onnx
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import AutoglmError, UserInputError
from benchmarks.models.packaged import INSTALL, PACKAGED
from benchmarks.tasks.detection import detection
from benchmarks.tasks.recognition import recognition
from benchmarks.tasks.similarity import similarity
from benchmarks.tasks.task import Task

CALIBRATION = 32
TESTS = 100


@dataclass(frozen=True)
class Row:
    """One task by one recipe: scores of the float model, of the Q/DQ model and of our bundle."""

    task: str
    measure: str
    recipe: str
    float_score: float
    quantized_score: float
    bundle_score: float | None
    weights_before: int
    weights_after: int

    @property
    def loss(self) -> float:
        """Part of the float model's score that the bundle (or the Q/DQ model) loses."""
        found = self.quantized_score if self.bundle_score is None else self.bundle_score
        return 1 - found / self.float_score if self.float_score else 0.0


def main() -> int:
    """Measure, print the table, write the file that was asked for."""
    options = _parser().parse_args()
    try:
        rows = run(options)
    except AutoglmError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if options.json is not None:
        content = [{**asdict(row), "loss": row.loss} for row in rows]
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def run(options: argparse.Namespace) -> list[Row]:
    """Measure every task by every recipe, printing a line of a Markdown table for each."""
    print("| task | score | recipe | float | Q/DQ model | bundle | loss | weights |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.tasks.split(","):
            task = make_task(name, Path(folder), CALIBRATION, options.tests)
            float_model = read(task.model, task.shapes)
            score = task.result(OnnxSession(float_model).run)
            for recipe in options.recipes.split(","):
                bundle = None if options.no_bundle else Path(folder) / f"{name}-{recipe}"
                rows.append(measure(task, recipe, float_model, score, bundle))
                print(_line(rows[-1]), flush=True)
    return rows


def make_task(name: str, folder: Path, calibration: int, tests: int) -> Task:
    """Return a task by its name in `TASKS`.

    Raises
    ------
    UserInputError
        There is no such task, or the package with its network is not installed.
    """
    if name not in TASKS:
        raise UserInputError(f"there is no task {name!r}", hint=f"known: {', '.join(TASKS)}")
    try:
        return TASKS[name](name, folder, calibration, tests)
    except FileNotFoundError as error:
        raise UserInputError(str(error), hint=INSTALL) from error


def measure(
    task: Task, recipe: str, float_model: ReadModel, float_score: float, bundle: Path | None
) -> Row:
    """Quantize a task's network by a recipe and return its scores.

    Parameters
    ----------
    recipe
        A built-in recipe, or the path of a file.
    float_model, float_score
        The network before, and its score.
    bundle
        Where to compile it to for this machine; None runs the Q/DQ model alone.
    """
    data = list(task.calibration)
    if bundle is None:
        quantized = quantize_onnx(task.model, recipe, data, task.shapes).model
        bundle_score = None
    else:
        done = compile(task.model, "host", bundle, task.shapes, quantize=recipe, calibration=data)
        quantized = done.quantized.source
        bundle_score = task.result(open_bundle(done.directory).run)
    return Row(
        task.name,
        task.measure,
        recipe,
        float_score,
        task.result(OnnxSession(quantized).run),
        bundle_score,
        weight_bytes(float_model),
        weight_bytes(quantized),
    )


def _packaged(make: Callable[[str, Path, int, int], Task]) -> Callable[..., Task]:
    def task(name: str, _folder: Path, calibration: int, tests: int) -> Task:
        path = PACKAGED[name].path()
        if path is None:
            raise FileNotFoundError(f"the package {PACKAGED[name].package} is not installed")
        return make(name, path, calibration, tests)

    return task


def _minilm(name: str, folder: Path, _calibration: int, _tests: int) -> Task:
    return similarity(name, folder)


TASKS: dict[str, Callable[[str, Path, int, int], Task]] = {
    "ppocr6_rec": _packaged(recognition),
    "ppocr4_rec": _packaged(recognition),
    "ppocr6_det": _packaged(detection),
    "ppocr4_det": _packaged(detection),
    "minilm": _minilm,
}


def _line(row: Row) -> str:
    bundle = "-" if row.bundle_score is None else f"{row.bundle_score:.4f}"
    return (
        f"| {row.task} | {row.measure} | {row.recipe} | {row.float_score:.4f} | "
        f"{row.quantized_score:.4f} | {bundle} | {row.loss:+.2%} | "
        f"{row.weights_after / row.weights_before:.0%} |"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--tasks", default=",".join(TASKS), help="of: " + ", ".join(TASKS))
    parser.add_argument("--recipes", default="int8", help="names or files, with commas")
    parser.add_argument("--tests", type=int, default=TESTS, help="lines or pages to test with")
    parser.add_argument("--no-bundle", action="store_true", help="run the Q/DQ model alone")
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
