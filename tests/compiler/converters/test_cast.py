"""Cast of clipped floats: one conversion where the bounds fit, TVM's guarded one elsewhere."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.read import read
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import compile_in_memory

TYPES = {"uint8": 2, "int8": 3, "int32": 6, "int64": 7}
VALUES = np.array([-1e9, -300.5, -128.5, -0.5, 0.5, 1.5, 2.5, 127.5, 254.5, 300, 1e9], np.float32)


def clipped(low: float, high: float, steps: str, dtype: str) -> str:
    """A network that clips, then goes from `c` to `r` by `steps`, then casts."""
    return (
        f"g (float[11] x) => ({dtype}[11] y) {{ "
        f"low = Constant <value_float = {low:f}> () high = Constant <value_float = {high:f}> () "
        f"c = Clip (x, low, high) {steps} y = Cast <to = {TYPES[dtype]}> (r) }}"
    )


def operators(text: str) -> list[str]:
    script = import_onnx(read(model_from_text(text)))
    return [line for line in script.module.script().splitlines() if "R.isfinite" in line]


@pytest.mark.parametrize(
    ("low", "high", "steps", "dtype"),
    [
        (-128, 127, "r = Round (c)", "int8"),
        (0, 255, "r = Round (c)", "uint8"),
        (0, 255, "f = Floor (c) r = Relu (f)", "uint8"),
        (-1000, 1000, "r = Identity (c)", "int32"),
        (0.5, 254.5, "r = Ceil (c)", "uint8"),
    ],
)
def test_bounds_that_fit_need_no_guard(low: float, high: float, steps: str, dtype: str) -> None:
    text = clipped(low, high, steps, dtype)
    if "Relu" not in steps:
        assert not operators(text)
    expected = np.clip(VALUES, np.float32(low), np.float32(high))
    rounding = {"Round": np.rint, "Floor": np.floor, "Ceil": np.ceil}
    name = next((name for name in rounding if name in steps), "")
    expected = rounding[name](expected) if name else expected
    result = compile_in_memory(model_from_text(text)).run(VALUES)
    np.testing.assert_array_equal(result, expected.astype(dtype))


@pytest.mark.parametrize(
    ("low", "high", "steps", "dtype"),
    [
        (-129, 127, "r = Round (c)", "int8"),
        (0, 255.25, "r = Ceil (c)", "uint8"),
        (0, 255, "two = Constant <value_float = 2.0> () r = Mul (c, two)", "uint8"),
        (-3e38, 100, "r = Round (c)", "int32"),
    ],
)
def test_others_stay_guarded(low: float, high: float, steps: str, dtype: str) -> None:
    assert operators(clipped(low, high, steps, dtype))


def test_a_cast_of_anything_else_is_still_the_importers() -> None:
    text = "g (float[11] x) => (int32[11] y) { y = Cast <to = 6> (x) }"
    values = np.array([np.nan, np.inf, 3.7, -3.7, 0, 1, 2, 3, 4, 5, 6], np.float32)
    result = compile_in_memory(model_from_text(text)).run(values)
    np.testing.assert_array_equal(result[2:], values[2:].astype(np.int32))
