"""Quantized models as ONNX text, random integers of a fixed seed, and how they are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from autoglm_tvm.compiler.frontend.graph import walk_nodes
from autoglm_tvm.compiler.read import ReadModel, read
from tests.compiler.models import operators

#: Scales and zero points that most of the models use.
PARAMETERS: dict[str, Any] = {
    "sx": np.float32(0.02),
    "zx": np.uint8(120),
    "sz": np.float32(0.03),
    "zz": np.uint8(3),
    "sy": np.float32(0.05),
    "zy": np.uint8(100),
}


def quantized(text: str, opset: int = 13, **constants: Any) -> onnx.ModelProto:
    """Return the model of a graph in ONNX's textual syntax, with constants as initializers."""
    head = f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>\n'
    model = onnx.parser.parse_model(head + text)
    used = {name for _, node in walk_nodes(model.graph) for name in node.input}
    for name, value in {**PARAMETERS, **constants}.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def integers(*shape: int, dtype: str = "uint8", seed: int = 0) -> np.ndarray:
    """Return random integers over the whole range of a type of 8 bits or less."""
    import ml_dtypes

    limits = ml_dtypes.iinfo(np.dtype(dtype))
    rng = np.random.default_rng((seed, *shape))
    return rng.integers(int(limits.min), int(limits.max) + 1, shape).astype(dtype)


def plainly(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Run a model in onnxruntime as it is, without its rewriting of it."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    used = {value.name for value in session.get_inputs()}
    arrays: Any = session.run(None, {k: v for k, v in feeds.items() if k in used})
    return list(arrays)


def same_when_read(
    model: onnx.ModelProto, feeds: dict[str, np.ndarray], steps: int = 0, expected: Any = None
) -> ReadModel:
    """Read a model and compare what it computes before and after.

    Parameters
    ----------
    steps
        By how much integers may differ.
    expected
        What is computed before, where onnxruntime cannot run the model.
    """
    result = read(model)
    # A detached weight is an input, fed with its value.
    found = plainly(result.proto, {**feeds, **result.weights})
    wanted = plainly(model, feeds) if expected is None else expected
    for left, right in zip(found, wanted, strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        if left.dtype.kind == "f":
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5)
        else:
            difference = left.astype(np.int64) - right.astype(np.int64)
            assert np.abs(difference).max() <= steps
    return result


def kinds(result: ReadModel) -> list[str]:
    """Return the operators of what was read, in order."""
    return operators(result.proto)
