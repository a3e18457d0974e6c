"""Float models to quantize, and what quantizing them did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData, calibration_data
from autoglm_tvm.compiler.quantization.quantize_model import QuantizedModel, quantize_model
from autoglm_tvm.compiler.quantization.recipe import Int4Settings, Int8Settings, Recipe
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array


def residual_network() -> onnx.ModelProto:
    """Two convolutions around a residual addition, pooling and a classifier."""
    text = """
    net (float[1,3,16,16] x) => (float[1,10] y) {
        [stem] a = Conv <pads: ints = [1,1,1,1]> (x, w0, b0)
        [stem_relu] ra = Relu (a)
        [left] b = Conv <pads: ints = [1,1,1,1]> (ra, w1)
        [residual] s = Add (b, ra)
        [residual_relu] r = Relu (s)
        [pool] p = GlobalAveragePool (r)
        [flat] f = Flatten (p)
        [head] y = Gemm <transB: int = 1> (f, w2, b2)
    }
    """
    weights = {
        "w0": random_array(16, 3, 3, 3, scale=0.3),
        "b0": random_array(16, scale=0.1),
        "w1": random_array(16, 16, 3, 3, scale=0.1, seed=1),
        "w2": random_array(10, 16, scale=0.3),
        "b2": random_array(10, scale=0.1),
    }
    return model_from_text(text, weights)


def transformer_block() -> onnx.ModelProto:
    """A product behind a normalisation, GELU's stand-in, a product, and a residual addition."""
    text = """
    block (float[1,8,32] x) => (float[1,8,32] y) {
        [norm] n = LayerNormalization <axis: int = -1> (x, g, h)
        [mlp__up__MatMul] u0 = MatMul (n, w0)
        [mlp__up__Add] u = Add (u0, b0)
        [mlp__act] t = Tanh (u)
        [mlp__down__MatMul] d0 = MatMul (t, w1)
        [mlp__down__Add] d = Add (d0, b1)
        [residual] y = Add (d, x)
    }
    """
    weights = {
        "g": 1 + random_array(32, scale=0.1),
        "h": random_array(32, scale=0.1, seed=1),
        "w0": random_array(32, 64, scale=0.2),
        "b0": random_array(64, scale=0.1),
        "w1": random_array(64, 32, scale=0.2),
        "b1": random_array(32, scale=0.1, seed=2),
    }
    return with_paths(model_from_text(text, weights))


def with_paths(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write ``/`` for ``__`` in the names of nodes: ONNX text has no such names."""
    for node in model.graph.node:
        node.name = node.name.replace("__", "/")
    return model


def normal_data(model: ReadModel, runs: int = 6, seed: int = 0) -> CalibrationData:
    """Runs of normal numbers for the model's inputs, that do not count as random ones."""
    rng = np.random.default_rng(seed)
    samples = [
        {s.name: rng.standard_normal(s.shape).astype(s.dtype) for s in model.inputs}  # type: ignore[arg-type]
        for _ in range(runs)
    ]
    return calibration_data(samples, model.inputs)


def recipe(
    default: str = "int8",
    exceptions: Mapping[str, str] | None = None,
    int4: Int4Settings | None = None,
    **int8: object,
) -> Recipe:
    """A recipe with settings of 8 bits by name; nothing that was seen is clipped."""
    int8 = {"method": "minmax", **int8}
    return Recipe(
        "test",
        default,
        tuple((exceptions or {}).items()),
        Int8Settings(**int8),  # type: ignore[arg-type]
        int4 or Int4Settings(),
    )


def quantized(
    model: onnx.ModelProto | ReadModel, how: Recipe, data: CalibrationData | None = None
) -> QuantizedModel:
    """Quantize with normal numbers as calibration data."""
    graph = model if isinstance(model, ReadModel) else read(model)
    return quantize_model(graph, how, data or normal_data(graph))


def sqnr(result: QuantizedModel, data: CalibrationData | None = None) -> float:
    """Signal to quantization noise of all outputs, in dB; checks the model too.

    Without data on what `quantized` calibrates with.
    """
    proto = with_weights(result.model)
    onnx.checker.check_model(proto, full_check=True)
    before = with_weights(result.original)
    signal = noise = 0.0
    for run in data or normal_data(result.original):
        expected, actual = run_reference(before, run), run_reference(proto, run)
        for name, value in expected.items():
            signal += float((value.astype(np.float64) ** 2).sum())
            noise += float(((value.astype(np.float64) - actual[name]) ** 2).sum())
    return float(10 * np.log10(signal / max(noise, 1e-30)))


def operators(result: QuantizedModel) -> Counter[str]:
    """Operators of the quantized model."""
    return Counter(node.op_type for node in result.model.proto.graph.node)


def producer(result: QuantizedModel, tensor: str) -> str:
    """Operator that makes a tensor; empty for inputs and constants."""
    nodes = result.model.proto.graph.node
    return next((node.op_type for node in nodes if tensor in node.output), "")


def node_named(result: QuantizedModel, name: str) -> onnx.NodeProto:
    """The node of that name."""
    return next(node for node in result.model.proto.graph.node if node.name == name)


def constant(result: QuantizedModel, name: str) -> np.ndarray:
    """Value of an initializer."""
    tensors = result.model.proto.graph.initializer
    return onnx.numpy_helper.to_array(next(t for t in tensors if t.name == name))
