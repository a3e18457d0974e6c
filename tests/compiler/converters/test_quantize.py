"""QuantizeLinear, DequantizeLinear and Cast of every type, exact to ONNX's own reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler import compile, verify
from tests.compiler.frontend.quantized.quantized_models import integers, quantized

FLOATS = {
    "FLOAT8E4M3FN": "float8e4m3fn",
    "FLOAT8E4M3FNUZ": "float8e4m3fnuz",
    "FLOAT8E5M2": "float8e5m2",
    "FLOAT8E5M2FNUZ": "float8e5m2fnuz",
    "FLOAT4E2M1": "float4e2m1",
}
INTEGERS = ("int4", "uint4", "int2", "uint2")


def ours(model: onnx.ModelProto, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, Any]:
    """Compile a model for this machine and run it."""
    directory = compile(model, "host", folder / "bundle").directory
    return open_bundle(directory).run(feeds)


def bytes_of(array: np.ndarray) -> np.ndarray:
    return array.view(np.uint8) if array.dtype.itemsize == 1 else array


def every_half() -> np.ndarray:
    """All numbers of float16 but NaN, and float32 numbers between and beyond them."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    rng = np.random.default_rng(0)
    between = rng.standard_normal(4000) * np.exp2(rng.integers(-30, 30, 4000))
    beyond = [3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -0.0]
    return np.concatenate([halves[~np.isnan(halves)], between, beyond]).astype(np.float32)


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize(
    ("kind", "saturate"),
    # `saturate` is for float8 only.
    [(kind, saturate) for kind in FLOATS for saturate in (1, 0) if saturate or "FLOAT8" in kind],
)
def test_cast_to_a_small_float(kind, saturate, tmp_path):
    x = every_half()
    attribute = "" if saturate else ",saturate=0"
    elem_type = getattr(TensorProto, kind)
    model = quantized(
        f"g (float[{x.size}] x) => ({FLOATS[kind]}[{x.size}] y)"
        f"{{ y = Cast<to={elem_type}{attribute}>(x) }}",
        23,
    )
    found = ours(model, {"x": x}, tmp_path)["y"]
    expected: Any = ReferenceEvaluator(model).run(None, {"x": x})
    assert found.dtype == helper.tensor_dtype_to_np_dtype(elem_type)
    np.testing.assert_array_equal(bytes_of(found), bytes_of(expected[0]))


@pytest.mark.parametrize("kind", [kind for kind in FLOATS if kind != "FLOAT4E2M1"])
def test_nan_stays_nan(kind, tmp_path):
    model = quantized(
        f"g (float[2] x) => (float[2] y)"
        f"{{ u = Cast<to={getattr(TensorProto, kind)}>(x) y = Cast<to=1>(u) }}",
        23,
    )
    found = ours(model, {"x": np.array([np.nan, -np.nan], np.float32)}, tmp_path)["y"]
    assert np.isnan(found).all()


@pytest.mark.parametrize("kind", FLOATS)
def test_cast_from_a_small_float(kind, tmp_path):
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    codes = np.arange(16 if kind == "FLOAT4E2M1" else 256, dtype=np.uint8).view(dtype)
    model = quantized(
        f"g ({FLOATS[kind]}[{codes.size}] x) => (float[{codes.size}] y) {{ y = Cast<to=1>(x) }}", 23
    )
    found = ours(model, {"x": codes}, tmp_path)["y"]
    np.testing.assert_array_equal(found, codes.astype(np.float32))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_casts_of_small_integers(dtype, tmp_path):
    """From int32 the lowest bits stay, as in ONNX."""
    elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = quantized(
        f"g (int32[64] x) => ({dtype}[64] u, float[64] y)"
        f"{{ u = Cast<to={elem_type}>(x) y = Cast<to=1>(u) }}",
        25,
    )
    x = np.arange(-32, 32, dtype=np.int32)
    found = ours(model, {"x": x}, tmp_path)
    np.testing.assert_array_equal(bytes_of(found["u"]), bytes_of(x.astype(dtype)))
    np.testing.assert_array_equal(found["y"], x.astype(dtype).astype(np.float32))


def expected_steps(x: np.ndarray, scale: Any, zero: Any, dtype: str) -> np.ndarray:
    limits = ml_dtypes.iinfo(np.dtype(dtype))
    steps = np.rint(x / scale).astype(np.float64) + np.asarray(zero).astype(np.float64)
    return np.clip(steps, int(limits.min), int(limits.max)).astype(np.int32).astype(dtype)


@pytest.mark.parametrize("dtype", [*INTEGERS, "int8", "uint8", "int16", "uint16"])
def test_there_and_back(dtype, tmp_path):
    """Halves go to even, and what is beyond the range to its end, infinities too."""
    zero = np.array(1, dtype)
    halves = np.arange(-40, 40, dtype=np.float32) / 4
    x = np.concatenate([halves, np.array([1e9, -1e9, np.inf, -np.inf], np.float32)])
    model = quantized(
        f"g (float[84] x) => ({dtype}[84] u, float[84] y)"
        "{ u = QuantizeLinear(x,s,z) y = DequantizeLinear(u,s,z) }",
        25,
        s=np.float32(0.5),
        z=zero,
    )
    found = ours(model, {"x": x}, tmp_path)
    expected = expected_steps(x, np.float32(0.5), zero, dtype)
    assert found["u"].dtype == expected.dtype
    np.testing.assert_array_equal(found["u"].astype(np.int32), expected.astype(np.int32))
    back = (expected.astype(np.int32) - 1).astype(np.float32) * np.float32(0.5)
    np.testing.assert_array_equal(found["y"], back)


@pytest.mark.parametrize("computed", [False, True], ids=["constants", "inputs"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("dtype", ["int4", "uint8"])
def test_blocks_of_any_axis(dtype, axis, computed, tmp_path):
    """The last block may be shorter than the others."""
    shape = [5, 6, 7]
    rng = np.random.default_rng(axis)
    x = rng.standard_normal(shape).astype(np.float32)
    counts = [size if place != axis else -(-size // 2) for place, size in enumerate(shape)]
    scale = rng.uniform(0.1, 0.5, counts).astype(np.float32)
    zero = integers(*counts, dtype=dtype)
    dims = ",".join(map(str, counts))
    given = f", float[{dims}] s, {dtype}[{dims}] z" if computed else ""
    model = quantized(
        f"g (float[5,6,7] x{given}) => ({dtype}[5,6,7] u, float[5,6,7] y)"
        f"{{ u = QuantizeLinear<axis={axis},block_size=2>(x,s,z)"
        f"  y = DequantizeLinear<axis={axis},block_size=2>(u,s,z) }}",
        21,
        **({} if computed else {"s": scale, "z": zero}),
    )
    feeds = {"x": x, **({"s": scale, "z": zero} if computed else {})}
    found = ours(model, feeds, tmp_path)
    full = [np.repeat(p, 2, axis).take(range(shape[axis]), axis) for p in (scale, zero)]
    expected = expected_steps(x, full[0], full[1], dtype)
    np.testing.assert_array_equal(found["u"].astype(np.int32), expected.astype(np.int32))
    back = (expected.astype(np.int32) - full[1].astype(np.int32)).astype(np.float32) * full[0]
    np.testing.assert_array_equal(found["y"], back)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_scales_of_half_precision(dtype, tmp_path):
    scale = np.array([0.25, 0.5, 2.0], dtype)
    model = quantized(
        f"g ({dtype}[2,3] x) => (int8[2,3] u, {dtype}[2,3] y)"
        "{ u = QuantizeLinear(x,s,z) y = DequantizeLinear(u,s,z) }",
        21,
        s=scale,
        z=np.array([0, 1, -2], np.int8),
    )
    x = np.array([[0.3, 1.75, -3.0], [-0.4, 100.0, 5.0]], dtype)
    found = ours(model, {"x": x}, tmp_path)
    expected = expected_steps((x / scale).astype(np.float32), 1, [0, 1, -2], "int8")
    np.testing.assert_array_equal(found["u"], expected)
    assert found["y"].dtype == np.dtype(dtype)
    back = (expected - np.array([0, 1, -2], np.float32)) * scale.astype(np.float32)
    np.testing.assert_array_equal(found["y"], back.astype(dtype))


@pytest.mark.parametrize(
    ("text", "opset", "constants"),
    [
        ("g (int4[3,8] x) => (float[3,8] y) { y = DequantizeLinear(x,s) }", 21, {}),
        ("g (uint2[3,8] x) => (float[3,8] y) { y = DequantizeLinear(x,s) }", 25, {}),
        (
            "g (float[3,8] x) => (uint4[8,3] y) { u = QuantizeLinear(x,s,z) y = Transpose(u) }",
            21,
            {"z": np.array(3, "uint4")},
        ),
        (
            "g (float[3,8] x) => (float8e4m3fn[3,8] y) { y = QuantizeLinear(x,s,z) }",
            21,
            {"z": np.array(0, "float8_e4m3fn")},
        ),
        ("g (float8e5m2[3,8] x) => (float[3,8] y) { y = DequantizeLinear(x,s) }", 21, {}),
    ],
)
def test_small_types_at_the_interface(text, opset, constants, tmp_path):
    """A bundle names the model's types; `verify` lets onnxruntime cast at the interface."""
    model = quantized(text, opset, s=np.float32(0.5), **constants)
    bundle = compile(model, "host", tmp_path / "bundle").bundle
    named = [*bundle.manifest.inputs, *bundle.manifest.outputs]
    assert any(spec.dtype != "float32" for spec in named)
    assert verify(bundle.directory, model).ok


def test_what_moves_data_takes_small_types(tmp_path):
    model = quantized(
        "g (int4[2,6] x) => (int4[6,3] y) {"
        "a, b = Split<axis=1,num_outputs=2>(x)"
        "c = Concat<axis=0>(b,a,b)"
        "y = Reshape(c,shape) }",
        25,
        shape=np.array([6, 3]),
    )
    x = integers(2, 6, dtype="int4")
    found = ours(model, {"x": x}, tmp_path)["y"]
    expected = np.concatenate([x[:, 3:], x[:, :3], x[:, 3:]]).reshape(6, 3)
    np.testing.assert_array_equal(found.astype(np.int8), expected.astype(np.int8))
