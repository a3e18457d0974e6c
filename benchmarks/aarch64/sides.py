"""Both sides of a trial: our bundle, and onnxruntime, counted on the same inputs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.compare import compare
from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.targets.errors import CheckFailedError
from benchmarks.aarch64.count_instructions import Counted, count
from benchmarks.aarch64.tools import ONNXRUNTIME_VERSION, Tools
from benchmarks.aarch64.trial import Trial

if TYPE_CHECKING:
    import numpy as np

#: Share of an output's largest magnitude that it may be off by.
TOLERANCE = 1e-3


def count_ours(tools: Tools, trial: Trial, *, kernels: bool = False) -> Counted:
    """Count a run of the bundle; ``kernels`` as of `count`."""
    bundle = trial.bundle
    arguments = [*bundle.check_inputs(trial.inputs), *bundle.map_weights()]
    library = bundle.library_path
    return count(tools, tools.run_bundle, library, arguments, trial.cpu, kernels=kernels)


def count_onnxruntime(tools: Tools, trial: Trial) -> Counted:
    """Count a run of the ONNX file in onnxruntime.

    Raises
    ------
    CheckFailedError
        Its outputs are not the expected ones, or it fails.
    """
    inputs = list(trial.inputs.values())
    counted = count(tools, tools.run_onnxruntime, trial.model, inputs, trial.cpu)
    error = worst_error(counted, trial.expected)
    if error is None or error > TOLERANCE:
        raise CheckFailedError(
            f"onnxruntime {ONNXRUNTIME_VERSION} for arm64 gives other numbers than the reference",
            where=f"{trial.model} on {trial.cpu}, relative error {error}",
        )
    return counted


def onnxruntime_instructions(tools: Tools, trial: Trial) -> int:
    """Return the instructions of a run in onnxruntime, counted once per model, inputs and CPU."""
    digest = hashlib.sha256(trial.model.read_bytes())
    for name, array in trial.inputs.items():
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    digest.update(repr((ONNXRUNTIME_VERSION, trial.cpu, tools.libraries.name)).encode())

    def fill(folder: Path) -> None:
        text = json.dumps({"instructions": count_onnxruntime(tools, trial).instructions})
        (folder / "count.json").write_text(text, encoding="utf-8")

    folder = cached_folder(f"onnxruntime-aarch64-counts/{digest.hexdigest()[:24]}", fill)
    return json.loads((folder / "count.json").read_text("utf-8"))["instructions"]


def worst_error(counted: Counted, expected: dict[str, np.ndarray]) -> float | None:
    """Return the largest relative error of any output; ``None`` stands for infinity."""
    import numpy as np

    if len(counted.outputs) != sum(array.nbytes for array in expected.values()):
        return None
    worst, offset = 0.0, 0
    for name, array in expected.items():
        piece = counted.outputs[offset : offset + array.nbytes]
        found = np.frombuffer(piece, array.dtype).reshape(array.shape)
        worst = max(worst, compare(name, found, array).relative)
        offset += array.nbytes
    return worst if worst != float("inf") else None
