"""Networks of a few operators, written to ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

ROWS, FEATURES, CLASSES = 2, 8, 4


def write_linear(path: Path, *, activation: str = "Relu", seed: int = 0) -> Path:
    """Write ``y = activation(x @ w + b)``, with x float32[n, 8] and y float32[n, 4]."""
    from onnx import helper, numpy_helper, save

    rng = np.random.default_rng(seed)
    weights = {
        "w": rng.standard_normal((FEATURES, CLASSES)).astype(np.float32),
        "b": rng.standard_normal(CLASSES).astype(np.float32),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="product"),
        helper.make_node("Add", ["product", "b"], ["sum"], name="sum"),
        helper.make_node(activation, ["sum"], ["y"], name="activation"),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", 1, ["n", FEATURES])],
        [helper.make_tensor_value_info("y", 1, ["n", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    save(_model(graph), path)
    return path


def write_convolutions(path: Path) -> Path:
    """Write two 3x3 convolutions and a softmax: large enough to be run by several threads."""
    from onnx import helper, numpy_helper, save

    rng = np.random.default_rng(0)
    first = rng.standard_normal((16, 3, 3, 3)).astype(np.float32)
    second = rng.standard_normal((16, 16, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Softmax", ["c2"], ["y"], name="softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "convolutions",
        [helper.make_tensor_value_info("x", 1, [1, 3, 33, 33])],
        [helper.make_tensor_value_info("y", 1, [1, 16, 33, 33])],
        [numpy_helper.from_array(first, "w1"), numpy_helper.from_array(second, "w2")],
    )
    save(_model(graph), path)
    return path


def write_unsupported(path: Path) -> Path:
    """Write a model with two nodes of a domain that nobody knows."""
    from onnx import helper, save

    nodes = [
        helper.make_node("Twist", ["x"], ["t"], name="first", domain="my.domain"),
        helper.make_node("Bend", ["t"], ["y"], name="second", domain="my.domain"),
    ]
    graph = helper.make_graph(
        nodes,
        "unsupported",
        [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info("y", 1, [2])],
    )
    model = _model(graph)
    model.opset_import.append(helper.make_opsetid("my.domain", 1))
    save(model, path)
    return path


def linear_input(rows: int = ROWS) -> dict[str, np.ndarray]:
    """Return an input of `write_linear`."""
    rng = np.random.default_rng(7)
    return {"x": rng.standard_normal((rows, FEATURES)).astype(np.float32)}


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    from onnx import helper

    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
