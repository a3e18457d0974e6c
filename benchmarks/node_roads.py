"""Two roads from a node test to its results: this project's stages, and TVM's importer alone."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.artifacts.carried_types import carried, restored
from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import ImportedModel, import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.quantize import quantize
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.targets import resolve_target
from autoglm_tvm.targets.errors import UserInputError
from benchmarks.node_cases import NodeCase

OUTCOMES = ("right", "refused", "import error", "compile error", "run error", "WRONG", "crash")
#: Relative and absolute tolerance by dtype; other dtypes as float32.
TOLERANCES = {"float16": (1e-2, 1e-2), "bfloat16": (1e-2, 1e-2)}
FLOAT32_TOLERANCE = (1e-3, 1e-5)


@dataclass(frozen=True)
class Outcome:
    """What became of a test: one of `OUTCOMES`, and why."""

    kind: str
    detail: str = ""


def run_case(case: NodeCase, importer_alone: bool) -> Outcome:
    """Compile and run one test in this process and compare with what it expects."""
    stage = "import error"
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            executable, weights, graph = None, [], None
            if importer_alone:
                module = _import_alone(case)
                stage = "compile error"
                executable = _compile_alone(module)
            else:
                graph = quantize(read(case.model), resolve_target("host"), None).model
                imported = import_onnx(graph)
                stage = "compile error"
                executable, weights = _compile_staged(graph, imported)
            stage = "run error"
            feeds = list(case.feeds.values())
            if graph is None:
                results = _run(executable, feeds)
            else:
                results = _run(executable, [*map(carried, feeds), *weights])
                specs = graph.outputs
                results = [restored(a, s.dtype) for a, s in zip(results, specs, strict=True)]
            difference = _difference(results, list(case.expected.values()))
        except UserInputError as error:
            return Outcome("refused", f"{error.what}")
        except Exception as error:
            return Outcome(stage, f"{type(error).__name__}: {str(error).strip()[-300:]}")
    return Outcome("WRONG", difference) if difference else Outcome("right")


def _compile_staged(graph: ReadModel, imported: ImportedModel) -> tuple[Any, list[Any]]:
    target = resolve_target("host")
    optimised = optimise(imported, target)
    built = build(schedule(optimised, target).module, target, graph.inputs)
    return built.executable, [array for _, array in optimised.weights]


def _import_alone(case: NodeCase) -> Any:
    from tvm.relax.frontend import onnx as frontend

    from_onnx: Any = frontend.from_onnx  # its annotation says GraphProto, it takes a ModelProto
    return from_onnx(case.model)


def _compile_alone(module: Any) -> Any:
    import tvm

    target = tvm.target.Target(resolve_target("host").to_tvm_dict())
    with target:
        return tvm.compile(module, target)


def _run(executable: Any, arrays: Sequence[Any]) -> list[Any]:
    import numpy as np
    import tvm
    from tvm import relax

    tensors = [tvm.runtime.tensor(np.array(array, order="C")) for array in arrays]
    device: Any = tvm.cpu()
    result: Any = relax.VirtualMachine(executable, device)["main"](*tensors)
    # A single shape, a tuple of numbers, is what the importer alone answers for a Shape node.
    single = hasattr(result, "numpy") or isinstance(result, tvm.runtime.ShapeTuple)
    results: list[Any] = [result] if single else list(result)
    return [
        item.numpy() if hasattr(item, "numpy") else np.array(item, np.int64) for item in results
    ]


def _difference(results: Sequence[Any], expected: Sequence[Any]) -> str:
    """Say how the first wrong result differs; nothing where all are right."""
    if len(results) != len(expected):
        return f"{len(results)} outputs, not {len(expected)}"
    return next(filter(None, map(_tensor_difference, results, expected)), "")


def _tensor_difference(result: Any, expected: Any) -> str:
    import numpy as np

    if result.shape != expected.shape or result.dtype != expected.dtype:
        found = f"{result.dtype}{list(result.shape)}"
        return f"{found} instead of {expected.dtype}{list(expected.shape)}"
    rtol, atol = TOLERANCES.get(str(expected.dtype), FLOAT32_TOLERANCE)
    left, right = result, expected
    if expected.dtype.kind not in "iub":
        left, right = result.astype(np.float64), expected.astype(np.float64)
    else:
        rtol = atol = 0
    if np.allclose(left, right, rtol=rtol, atol=atol, equal_nan=True):
        return ""
    at = np.unravel_index(
        np.argmin(np.isclose(left, right, rtol, atol, equal_nan=True)), left.shape
    )
    return f"{left[at]} instead of {right[at]} at {[int(i) for i in at]}"
