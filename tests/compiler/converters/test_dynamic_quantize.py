"""DynamicQuantizeLinear and MatMulInteger, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler import compile
from tests.compiler.frontend.quantized.quantized_models import integers, plainly, quantized


@pytest.mark.parametrize("values", ["zeros", "positive", "negative", "both", "denormal", "halves"])
def test_dynamic_quantize(values, tmp_path):
    """Of zeros only, where ONNX divides by 0, it is what onnxruntime has: scale 1."""
    x = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    x = {
        "zeros": np.zeros_like(x),
        "positive": np.abs(x) + 1,
        "negative": -np.abs(x) - 1,
        "both": x,
        "denormal": np.full_like(x, 1e-42),
        "halves": np.resize(np.array([0, 0.5, 1.5, 2.5, 255], np.float32), (3, 8)),
    }[values]
    model = quantized(
        "g (float[3,8] x) => (uint8[3,8] y, float s, uint8 z) { y,s,z = DynamicQuantizeLinear(x) }"
    )
    directory = compile(model, "host", tmp_path / "bundle").directory
    found = open_bundle(directory).run({"x": x}).values()
    for left, right in zip(found, plainly(model, {"x": x}), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("constant", [False, True], ids=["inputs", "constants"])
@pytest.mark.parametrize(
    ("rows", "columns"),
    [((), ()), ((1,), (1,)), ((5,), (6,)), ((2, 5, 1), (2, 1, 6)), ((), (6,))],
    ids=["scalars", "ones", "vectors", "tensors", "columns"],
)
@pytest.mark.parametrize("types", [("uint8", "int8"), ("int8", "uint8")])
def test_zero_points_of_rows_and_columns(types, rows, columns, constant, tmp_path):
    """onnxruntime takes no zero point for each row of a; ONNX defines it."""
    batch = (2,) if len(rows) == 3 else ()
    arrays = {
        "a": integers(*batch, 5, 8, dtype=types[0]),
        "b": integers(*batch, 8, 6, dtype=types[1]),
        "za": integers(*rows, dtype=types[0]),
        "zb": integers(*columns, dtype=types[1]),
    }
    given = ["a"] if constant else list(arrays)
    signature = ", ".join(
        f"{arrays[name].dtype}{list(arrays[name].shape) or ''} {name}" for name in given
    )
    model = quantized(
        f"g ({signature}) => (int32[{'2,' if batch else ''}5,6] y)"
        "{ y = MatMulInteger(a,b,za,zb) }",
        opset=13,
        **{name: array for name, array in arrays.items() if name not in given},
    )
    directory = compile(model, "host", tmp_path / "bundle").directory
    found = open_bundle(directory).run({name: arrays[name] for name in given})["y"]
    wide = {name: array.astype(np.int32) for name, array in arrays.items()}
    left_zero = wide["za"][:, None] if rows == (5,) else wide["za"]
    expected = np.matmul(wide["a"] - left_zero, wide["b"] - wide["zb"])
    np.testing.assert_array_equal(found, expected)
