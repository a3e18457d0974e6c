"""Quantization as plain arithmetic: carried by the layout, fused, exact; what is not is left."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.passes.quantize_as_arithmetic import quantize_as_arithmetic
from autoglm_tvm.compiler.read import read
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import compile_in_memory
from tests.schedules.integer_products import random_bytes

NETWORK = """g (uint8[1,5,20,21] x) => (int32[a,b,c,d] y) {
    s = ConvInteger <pads = [1, 1, 1, 1]> (x, w, seven)
    f = Cast <to = 1> (s) p = Mul (f, m) q = Add (p, b) h = HardSwish (q)
    u = QuantizeLinear (h, scale, zero) y = ConvInteger (u, v, zero)
}"""


def ramp(low: float, high: float, count: int) -> np.ndarray:
    return np.linspace(low, high, count, dtype=np.float32)


def test_a_convolution_an_activation_and_quantization_are_one_kernel() -> None:
    weights: dict[str, Any] = {
        "w": random_bytes("int8", 32, 5, 3, 3),
        "v": random_bytes("int8", 16, 32, 1, 1),
        "m": ramp(1e-3, 3e-3, 32).reshape(-1, 1, 1),
        "b": ramp(-1, 1, 32).reshape(-1, 1, 1),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(11, np.uint8),
        "seven": np.array(7, np.uint8),
    }
    model = model_from_text(NETWORK, weights)
    x = random_bytes("uint8", 1, 5, 20, 21)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    compiled = compile_in_memory(model)
    np.testing.assert_array_equal(compiled.run(x), expected)
    # The transposes of the input and the output, and the two convolutions.
    assert len(compiled.operators) == 4, compiled.operators


def test_scales_along_an_axis() -> None:
    weights = {"s": ramp(0.01, 0.3, 13), "z": np.full(13, -5, np.int8)}
    model = model_from_text(
        "g (float[3,13,7] x) => (float[3,13,7] y) { "
        "q = QuantizeLinear <axis = 1> (x, s, z) y = DequantizeLinear <axis = 1> (q, s, z) }",
        weights,
    )
    x = (np.random.default_rng(0).standard_normal((3, 13, 7)) * 9).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(compile_in_memory(model).run(x), expected)
    assert "quantize" not in rewritten(model)


def test_zero_points_that_differ_stay() -> None:
    weights = {"s": ramp(0.01, 0.3, 13), "z": np.arange(13, dtype=np.int8)}
    model = model_from_text(
        "g (float[3,13,7] x) => (int8[3,13,7] y) { y = QuantizeLinear <axis = 1> (x, s, z) }",
        weights,
    )
    x = (np.random.default_rng(0).standard_normal((3, 13, 7)) * 9).astype(np.float32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(compile_in_memory(model).run(x), expected)
    assert "quantize" in rewritten(model)


def rewritten(model: Any) -> str:
    return quantize_as_arithmetic(import_onnx(read(model)).module).script()
