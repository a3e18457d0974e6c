"""Measure one model in all precisions, in a process of its own: its thread pools are new.

    python benchmarks/quantized/measure_precisions.py REQUEST.json ANSWER.json

Called by `quantization.py`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler.compile import CompileResult, compile
from autoglm_tvm.targets.errors import AutoglmError
from benchmarks.interleave import QUICK, THOROUGH, Latency, compare_latency, interleave
from benchmarks.measure import TOLERANCE, worst_error
from benchmarks.models.catalog import Case
from benchmarks.other_load import watch_other_load
from benchmarks.ours import OurSide
from benchmarks.own_process import answer
from benchmarks.peers.onnx_runtime import OnnxRuntime
from benchmarks.peers.peer import Task
from benchmarks.quantized.subjects import FLOAT, Subject, subject_of

if TYPE_CHECKING:
    import numpy as np

Row = dict[str, Any]

#: Energy of the difference from onnxruntime's outputs of the same Q/DQ file, as a part of theirs,
#: above which ours are wrong (24 dB): a value between two steps may fall to either side.
MOST_NOISE = 0.004


def main() -> int:
    """Answer a request: model, threads, precisions, quick."""
    return answer(measure)


@dataclass(frozen=True)
class _Precision:
    """One precision of a model: our bundle, onnxruntime on the same file, and the row so far."""

    row: Row
    ours: Callable[[], object]
    theirs: Callable[[], object]


def measure(case: Case, wanted: dict[str, Any]) -> Row:
    """Compile, check and time a model in each precision; return ``rows``, one for each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject = subject_of(case, folder)
        rows: list[Row] = []
        built: dict[str, _Precision] = {}
        for precision in wanted["precisions"]:
            try:
                built[precision] = _build(subject, precision, wanted["threads"], folder)
                rows.append(built[precision].row)
            except AutoglmError as error:
                rows.append({"precision": precision, "error": error.what})
        with watch_other_load() as others:
            sides = {("ours", name): built[name].ours for name in built}
            sides |= {("theirs", name): built[name].theirs for name in built}
            texts = {f"{side} {name}": run for (side, name), run in sides.items()}
            found = interleave(texts, QUICK if wanted["quick"] else THOROUGH)
        for name in built:
            built[name].row.update(_latencies(found, name))
            built[name].row["other_cores"] = others.cores
    return {"rows": rows}


def compiled(
    subject: Subject, precision: str, target: str, directory: Path, threads: int | None = None
) -> CompileResult:
    """Compile a subject in a precision; the weights' Q/DQ model lies beside the bundle."""
    recipe = None if precision == FLOAT else precision
    # A recipe without activations in it is to know their ranges too: what overflows in float16.
    return compile(
        subject.model,
        target,
        directory,
        subject.shapes or None,
        name="measured",
        threads=threads,
        quantize=recipe,
        calibration=subject.calibration if recipe else None,
        save_quantized=quantized_file(directory) if recipe else None,
    )


def quantized_file(directory: Path) -> Path:
    """Where the Q/DQ model of a bundle is saved."""
    return directory.with_name(f"{directory.name}.onnx")


def _build(subject: Subject, precision: str, threads: int, folder: Path) -> _Precision:
    directory = folder / precision
    result = compiled(subject, precision, "host", directory, threads)
    path = subject.model if precision == FLOAT else quantized_file(directory)
    outputs = tuple(spec.name for spec in subject.read.outputs)
    ours = OurSide(directory, subject.inputs, threads)
    theirs = OnnxRuntime(Task(path, subject.inputs, outputs, threads))
    error = worst_error(ours.outputs(), theirs.outputs())
    row: Row = {
        "precision": precision,
        "weights_bytes": result.bundle.manifest.memory.weights_bytes,
        "error": None,
        "difference": error,
        "right": _is_right(precision, error, ours.outputs(), theirs.outputs()),
        "compile_seconds": sum(result.seconds.values()),
    }
    row |= _accuracy(result)
    if subject.exercise is not None:
        bundle = open_bundle(directory, threads)
        row["score"] = subject.exercise.result(bundle.run)
        row["score_of"] = subject.exercise.measure
    return _Precision(row, ours.run, theirs.run)


def _is_right(
    precision: str, error: float, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]
) -> bool:
    import numpy as np

    if precision == FLOAT:
        return error <= TOLERANCE
    for mine, other in zip(ours, theirs, strict=True):
        left, right = (a.reshape(-1).astype(np.float64) for a in (mine, other))
        # Written so that NaN is wrong.
        if not np.sum((left - right) ** 2) <= MOST_NOISE * np.sum(right**2):
            return False
    return True


def _accuracy(result: CompileResult) -> Row:
    """The worst of all outputs, as the quantize stage measured it on held-out inputs."""
    stage = result.quantized
    shares: dict[str, int] = {}
    for node in stage.nodes:
        shares[node.runs] = shares.get(node.runs, 0) + 1
    report = stage.accuracy
    if report is None or not report.outputs:
        return {"runs": shares}
    top1 = [item.top1 for item in report.outputs if item.top1 is not None]
    return {
        "runs": shares,
        "sqnr_db": min(item.sqnr_db for item in report.outputs),
        "cosine": min(item.cosine for item in report.outputs),
        "top1": min(top1) if top1 else None,
        "random_data": report.random,
    }


def _latencies(found: dict[str, Latency], precision: str) -> Row:
    ours, theirs = found[f"ours {precision}"], found[f"theirs {precision}"]
    row: Row = {
        "milliseconds": {"ours": ours.seconds * 1e3, "onnxruntime": theirs.seconds * 1e3},
        "to_onnxruntime": asdict(compare_latency(ours, theirs)),
    }
    if f"ours {FLOAT}" in found:
        row["to_fp32"] = asdict(compare_latency(ours, found[f"ours {FLOAT}"]))
    return row


if __name__ == "__main__":
    sys.exit(main())
