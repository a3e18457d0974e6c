"""A network of branches whose noise is known: quantized by hand, one branch a layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.read import ReadModel, read

SIZE = 16


def branches(noise: Mapping[str, float], head: str = "", names: Sequence[str] = ()) -> ReadModel:
    """Return ``y = sum over the branches of x @ w_i``, each w_i off by its share of noise.

    Parameters
    ----------
    noise
        Relative error of each branch's weight, by the name of its MatMul.
    head
        Operator behind the sum.
    names
        Branches in the order of the graph; by default as in `noise`.
    """
    from onnx import helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for name in names or noise:
        weight = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
        error = rng.standard_normal((SIZE, SIZE)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight + noise[name] * error, f"w_{name}"))
        nodes.append(helper.make_node("MatMul", ["x", f"w_{name}"], [f"t_{name}"], name=name))
    terms = [f"t_{name}" for name in names or noise]
    nodes.append(helper.make_node("Sum", terms, ["sum" if head else "y"], name="sum"))
    if head:
        nodes.append(helper.make_node(head, ["sum"], ["y"], name="head"))
    graph = helper.make_graph(
        nodes,
        "branches",
        [helper.make_tensor_value_info("x", 1, [4, SIZE])],
        [helper.make_tensor_value_info("y", 1, [4, SIZE])],
        weights,
    )
    opsets = [helper.make_opsetid("", 17)]
    return read(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def samples(model: ReadModel, count: int = 3, seed: int = 0) -> CalibrationData:
    """Return normal inputs for `model`."""
    rng = np.random.default_rng(seed)
    runs = [
        {
            spec.name: rng.standard_normal(spec.shape).astype(spec.dtype)  # type: ignore[arg-type]
            for spec in model.inputs
        }
        for _ in range(count)
    ]
    return calibration_data(runs, model.inputs)
