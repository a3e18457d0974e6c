"""What quantized networks do with bytes beside products: exact on ragged sizes, in vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import Compiled, compile_in_memory
from tests.schedules.integer_products import random_bytes

# A product makes the bytes `p`, so that the operator stands between kernels in the inner layout.
BEFORE = """
    s = ConvInteger <kernel_shape = [1, 1]> (x, w, seven)
    f = Cast <to = 1> (s) m = Mul (f, factor) c = Clip (m, low, high) r = Round (c)
    i = Cast <to = 6> (r) p = Cast <to = 2> (i)
"""
OPERATORS = {
    "largest of a window": "y = MaxPool <kernel_shape = [3, 3], strides = [2, 2], "
    "pads = [1, 1, 1, 1]> (p)",
    "largest of a ragged window": "y = MaxPool <kernel_shape = [2, 3], pads = [0, 1, 1, 1]> (p)",
    "nearest": "y = Resize <mode = 'nearest', coordinate_transformation_mode = 'asymmetric', "
    "nearest_mode = 'floor'> (p, , scales)",
    "border": "y = Pad (p, pads, seven)",
    "slice": "y = Slice (p, two, nine, one)",
    "concatenation": "t = MaxPool <kernel_shape = [1, 1]> (p) y = Concat <axis = 1> (p, t, p)",
    "smallest": "y = Min (p, limit)",
    "sum of rows": "a = Cast <to = 6> (p) y = ReduceSum <keepdims = 1> (a, spatial)",
    "transposed": "y = Transpose <perm = [0, 2, 3, 1]> (p)",
}
CONSTANTS: dict[str, Any] = {
    "seven": np.uint8(7),
    "low": np.float32(0),
    "high": np.float32(255),
    "scales": np.array([1, 1, 2, 3], np.float32),
    "pads": np.array([0, 0, 1, 2, 0, 0, 0, 1]),
    "one": np.array([1]),
    "two": np.array([2]),
    "nine": np.array([9]),
    "limit": np.uint8(100),
    "spatial": np.array([2, 3]),
}


def network(body: str, channels: int) -> onnx.ModelProto:
    text = BEFORE + body.replace("'", '"')
    words = set(text.replace(",", " ").replace("(", " ").replace(")", " ").split())
    weights = {name: np.asarray(value) for name, value in CONSTANTS.items() if name in words}
    weights["w"] = random_bytes("int8", channels, 5, 1, 1)
    weights["factor"] = np.linspace(1e-3, 1e-2, channels, dtype=np.float32).reshape(-1, 1, 1)
    kind = "int32" if "ReduceSum" in body else "uint8"
    return model_from_text(f"g (uint8[2,5,7,11] x) => ({kind}[a,b,c,d] y) {{ {text} }}", weights)


def both(model: onnx.ModelProto, x: np.ndarray, threads: int) -> tuple[Compiled, Any, Any]:
    """The network compiled, its result, and onnxruntime's."""
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    compiled = compile_in_memory(model, resolve_target("host", threads=threads))
    return compiled, compiled.run(x), expected


@pytest.mark.parametrize("channels", [13, 64])
@pytest.mark.parametrize("name", OPERATORS)
def test_as_onnxruntime(name: str, channels: int) -> None:
    model = network(OPERATORS[name], channels)
    compiled, result, expected = both(model, random_bytes("uint8", 2, 5, 7, 11), 2)
    np.testing.assert_array_equal(result, expected)
    assert "fallback" not in compiled.rules


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("layer norm", "n = LayerNormalization (x, ones, ones)"),
        ("softmax", "n = Softmax (x)"),
        ("sum", "n = Add (x, x)"),
        ("hard swish", "n = HardSwish (x)"),
        (
            "GELU",
            "d = Div (x, root) e = Erf (d) f = Add (e, unit) g = Mul (x, f) n = Mul (g, half)",
        ),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_quantization_is_part_of_the_kernel_before(name: str, operators: str, dtype: str) -> None:
    zero = np.uint8(117) if dtype == "uint8" else np.int8(-11)
    weights: dict[str, Any] = {"scale": np.float32(0.021), "zero": zero}
    constants = {"ones": np.ones(75, np.float32), "root": np.float32(2**0.5)}
    constants |= {"unit": np.float32(1), "half": np.float32(0.5)}
    weights |= {key: value for key, value in constants.items() if f" {key})" in operators}
    weights |= {"ones": constants["ones"]} if "ones" in operators else {}
    model = model_from_text(
        f"g (float[33,75] x) => ({dtype}[33,75] y) "
        f"{{ {operators} y = QuantizeLinear (n, scale, zero) }}",
        {key: np.asarray(value) for key, value in weights.items()},
    )
    x = (np.random.default_rng(0).standard_normal((33, 75)) * 3).astype(np.float32)
    compiled, result, expected = both(model, x, 1)
    assert len(compiled.rules) == 1, compiled.operators
    # The functions before it differ in their last bits, and so may a value between two bytes.
    difference = np.abs(result.astype(int) - expected)
    assert difference.max() <= (0 if name in ("sum", "hard swish") else 1)
    assert (difference == 0).mean() > 0.998


def test_quantization_rounds_half_to_even_and_saturates() -> None:
    values = np.array([0.25, 0.75, 1.25, -0.25, -0.75, 1e9, -1e9, np.inf, -np.inf], np.float32)
    for dtype, zero in (("uint8", 3), ("int8", -3), ("uint16", 9), ("int16", -9)):
        weights = {"scale": np.float32(0.5), "zero": np.array(zero, dtype)}
        model = model_from_text(
            f"g (float[9] x) => ({dtype}[9] y) {{ y = QuantizeLinear (x, scale, zero) }}",
            {name: np.asarray(value) for name, value in weights.items()},
            opset=21,
        )
        limits = np.iinfo(dtype)
        expected = np.clip(np.rint(values.astype(np.float64) * 2) + zero, limits.min, limits.max)
        np.testing.assert_array_equal(compile_in_memory(model).run(values), expected)
