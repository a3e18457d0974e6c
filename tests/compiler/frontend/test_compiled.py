"""Rewrites that only compiled code can prove right: what TVM computes against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.targets import resolve_target
from tests.compiler.models import node_model, run


def compiled(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Compile `model` for this machine, without packaging, and run it once."""
    import tvm
    from tvm import relax

    target, graph = resolve_target("host"), read(model)
    optimised = optimise(import_onnx(graph), target)
    built = build(schedule(optimised, target).module, target, graph.inputs)
    arrays = [feeds[spec.name] for spec in graph.inputs]
    arrays += [array for _, array in optimised.weights]
    device: Any = tvm.cpu()
    entry: Any = relax.VirtualMachine(built.executable, device)["main"]
    result: Any = entry(*map(tvm.runtime.tensor, arrays))
    results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
    return [tensor.numpy() for tensor in results]


def boxes_and_scores() -> dict[str, np.ndarray]:
    """Six boxes: the second overlaps the first by 0.5 exactly, the last has a negative score."""
    boxes = [
        [0, 0, 1, 1],
        [0, 0, 1, 0.5],
        [0, 0.9, 1, 1.9],
        [2, 2, 3, 3],
        [2, 2.05, 3, 3.05],
        [5, 5, 6, 6],
    ]
    scores = [0.9, 0.8, 0.7, 0.6, 0.5, -0.4]
    return {"boxes": np.array([boxes], np.float32), "scores": np.array([[scores]], np.float32)}


@pytest.mark.parametrize("iou", [None, 0.0, 0.04, 0.5, 1.0])
@pytest.mark.parametrize("score", [None, -1.0, 0.6])
def test_non_max_suppression_at_its_thresholds(iou: float | None, score: float | None) -> None:
    constants: dict[str, np.ndarray] = {"count": np.array([6], np.int64)}
    arguments = ["boxes", "scores", "count", "", ""]
    for index, name, value in ((3, "iou", iou), (4, "score", score)):
        if value is not None:
            constants[name] = np.array([value], np.float32)
            arguments[index] = name
    model = node_model(
        "NonMaxSuppression",
        {"boxes": (TensorProto.FLOAT, [1, 6, 4]), "scores": (TensorProto.FLOAT, [1, 1, 6])},
        constants=constants,
        arguments=arguments,
        output_type=TensorProto.INT64,
    )
    feeds = boxes_and_scores()
    (expected,) = run(model, feeds)
    np.testing.assert_array_equal(compiled(model, feeds)[0], expected)


def test_an_empty_input_is_joined() -> None:
    model = node_model(
        "Concat", {"x": (TensorProto.FLOAT, [0, 2]), "z": (TensorProto.FLOAT, [3, 2])}, axis=0
    )
    feeds = {"x": np.zeros((0, 2), np.float32), "z": np.ones((3, 2), np.float32)}
    np.testing.assert_array_equal(compiled(model, feeds)[0], feeds["z"])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_mod_of_floats_has_the_sign_of_the_divisor(dtype: type) -> None:
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    inputs = {"x": (elem_type, [6]), "z": (elem_type, [6])}
    model = node_model("Mod", inputs, output_type=elem_type, opset=28)
    feeds = {
        "x": np.array([-7, 7, 7.5, -1, 1, 6], dtype),
        "z": np.array([3, -3, 2, np.inf, -np.inf, -3], dtype),
    }
    # What ONNX means by fmod=0 for floats is numpy's mod; ONNX Runtime takes integers only.
    np.testing.assert_array_equal(compiled(model, feeds)[0], np.mod(feeds["x"], feeds["z"]))
