"""Weights of float16 stay so in memory where the arithmetic is float32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.passes.half_weights import widens_half_weights
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets import resolve_target
from tests.compiler.frontend.quantized.quantized_models import quantized
from tests.compiler.onnx_text import model_from_text, random_array

_CONV = "g (float[1, 8, 9, 9] x) => (float[1, 24, 9, 9] y) { y = Conv <pads = [1,1,1,1]> (x, w) }"
_POINT = "g (float[1, 48, 9, 9] x) => (float[1, 40, 9, 9] y) { y = Conv(x, w) }"
_MATMUL = "g (float[5, 64] x) => (float[5, 48] y) { y = MatMul(x, w) }"
_TABLE = "g (int64[5] x) => (float[5, 48] y) { a = Gather(t, x) y = MatMul(a, w) }"


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        (_CONV, {"w": (24, 8, 3, 3)}),
        (_POINT, {"w": (40, 48, 1, 1)}),
        (_MATMUL, {"w": (64, 48)}),
        (_TABLE, {"t": (100, 64), "w": (64, 48)}),
    ],
)
def test_weights_are_stored_as_halves(
    tmp_path: Path, text: str, shapes: dict[str, tuple[int, ...]]
) -> None:
    weights = {name: random_array(*shape) for name, shape in shapes.items()}
    model = model_from_text(text, weights)
    onnx.save(model, tmp_path / "model.onnx")
    bundle = compile(
        tmp_path / "model.onnx", "host", tmp_path / "out", name="model_half", quantize="fp16"
    ).bundle
    stored = {array.dtype.name: array.size for array in bundle.map_weights()}
    assert set(stored) == {"float16"}
    spec = model.graph.input[0].type.tensor_type
    shape = [dim.dim_value for dim in spec.shape.dim]
    whole = spec.elem_type == onnx.TensorProto.INT64
    x = np.array([3, 99, 0, 7, 3]) if whole else random_array(*shape)
    halves = {name: w.astype(np.float16).astype(np.float32) for name, w in weights.items()}
    expected = run_reference(model_from_text(text, halves), {"x": x})["y"]
    found = open_bundle(bundle.directory).run({"x": x})["y"]
    # Nothing but the weights is rounded to halves.
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6 * np.abs(expected).max())


def test_float32_weights_that_are_halves_by_chance_stay_as_they_are(tmp_path: Path) -> None:
    weight = np.arange(64 * 48, dtype=np.float32).reshape(64, 48) % 16
    onnx.save(model_from_text(_MATMUL, {"w": weight}), tmp_path / "model.onnx")
    bundle = compile(tmp_path / "model.onnx", "host", tmp_path / "out", name="model_32").bundle
    assert {array.dtype.name for array in bundle.map_weights()} == {"float32"}


def test_a_cast_whose_type_is_not_its_first_attribute() -> None:
    """ONNX does not order attributes; 1 is the type float32, and what `saturate` says."""
    text = "g (float[5, 64] x) => (float[5, 48] y) {{ f = Cast <{}> (w) y = MatMul(x, f) }}"
    weights = {"w": np.ones((64, 48), np.float16)}
    cases = {"to = 1": True, "saturate = 0, to = 1": True, "saturate = 1, to = 11": False}
    for attributes, expected in cases.items():
        graph = quantized(text.format(attributes), 19, **weights).graph
        assert widens_half_weights(graph) is expected, attributes


def test_without_instructions_that_convert_they_are_float32(tmp_path: Path) -> None:
    """x86-64-v2 has no F16C: a library would be called for each weight of each run."""
    onnx.save(model_from_text(_MATMUL, {"w": random_array(64, 48)}), tmp_path / "model.onnx")
    for cpu, stored in {"x86-64-v2": {"float32"}, "x86-64-v3": {"float16"}}.items():
        target = resolve_target("host", cpu=cpu)
        folder = tmp_path / cpu
        bundle = compile(
            tmp_path / "model.onnx", target, folder, name=f"model_{cpu[-1]}", quantize="fp16"
        ).bundle
        assert {array.dtype.name for array in bundle.map_weights()} == stored
