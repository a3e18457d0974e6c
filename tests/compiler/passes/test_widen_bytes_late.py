"""Sums of branches store bytes, and are what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import compile_in_memory
from tests.schedules.integer_products import random_bytes

CONSTANTS = {
    "ra": np.float32(0.7),
    "rb": np.float32(0.43),
    "c": np.float32(-31.2),
    "low": np.float32(0),
    "high": np.float32(255),
    "five": np.int32(5),
    "m": np.float32(0.01),
}
TO_BYTES = "i = Clip (h, low, high) j = Round (i) k = Cast <to = 6> (j) y = Cast <to = 2> (k)"
SUMS = {
    "sum": "a = Cast <to = 1> (x) b = Mul (a, ra) d = Add (b, c) "
    f"e = Cast <to = 1> (z) f = Mul (rb, e) h = Add (d, f) {TO_BYTES}",
    "difference": "a = Cast <to = 1> (x) b = Mul (a, ra) e = Cast <to = 1> (z) f = Mul (e, rb) "
    f"h = Sub (b, f) {TO_BYTES}",
    "of itself": "a = Cast <to = 1> (x) b = Mul (a, ra) e = Cast <to = 1> (x) f = Mul (e, rb) "
    f"g = Add (f, c) h = Add (b, g) {TO_BYTES}",
    "product": "a = Cast <to = 6> (x) b = Sub (a, five) e = Cast <to = 6> (z) d = Sub (five, e) "
    f"p = Mul (b, d) q = Cast <to = 1> (p) h = Mul (q, m) {TO_BYTES}",
}


def network(body: str, weights: dict[str, np.ndarray], shape: str = "2,7,5,9") -> onnx.ModelProto:
    used = {name: np.asarray(value) for name, value in weights.items() if f"{name}" in body}
    return model_from_text(
        f"g (uint8[{shape}] x, uint8[{shape}] z) => (uint8[{shape}] y) {{ {body} }}", used
    )


@pytest.mark.parametrize("name", SUMS)
def test_as_onnxruntime(name: str) -> None:
    """Bit for bit: products are rounded before they are added."""
    model = network(SUMS[name], CONSTANTS, "3,64,31,33")
    inputs = {"x": random_bytes("uint8", 3, 64, 31, 33), "z": random_bytes("uint8", 3, 64, 31, 33)}
    inputs["z"] = inputs["z"][::-1].copy()
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)
    compiled = compile_in_memory(model)
    np.testing.assert_array_equal(compiled.run(inputs["x"], inputs["z"]), expected)
    assert len(compiled.rules) == 1


def stored(model: onnx.ModelProto) -> list[str]:
    """What each kernel writes, in the order of execution."""
    optimised = optimise(import_onnx(read(model)), resolve_target("host"))
    return [str(optimised.module[name].params[-1].dtype) for name, _ in optimised.calls]


def _branch(name: str) -> str:
    chain = f"f{name} = Cast <to = 1> (s{name}) p{name} = Mul (f{name}, m) "
    chain += f"c{name} = Clip (p{name}, low, high) r{name} = Round (c{name}) "
    chain += f"i{name} = Cast <to = 6> (r{name}) q{name} = Cast <to = 2> (i{name}) "
    return f"s{name} = MatMulInteger (x, w{name}) " + chain


def test_a_branch_stores_bytes() -> None:
    """Both operands of the sum are products; one of them has a kernel that stores its result."""
    body = (
        _branch("1")
        + _branch("2")
        + (
            "a = Cast <to = 1> (q1) b = Mul (a, ra) d = Add (b, c) "
            f"e = Cast <to = 1> (q2) f = Mul (e, rb) h = Add (d, f) {TO_BYTES}"
        )
    )
    weights = CONSTANTS | {f"w{n}": random_bytes("int8", 32, 48, seed=n) for n in (1, 2)}
    text = f"g (uint8[9,32] x) => (uint8[9,48] y) {{ {body} }}"
    model = model_from_text(text, {n: np.asarray(v) for n, v in weights.items() if n != "five"})
    x = random_bytes("uint8", 9, 32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(compile_in_memory(model).run(x), expected)
    assert stored(model) == ["uint8", "uint8"]


def test_an_average_reads_bytes() -> None:
    """The conversion of what is summed up is not stored by the kernel that makes the bytes."""
    body = _branch("1") + (
        "t = Cast <to = 6> (q1) u = ReduceSum <keepdims = 1> (t, axes) v = Cast <to = 1> (u) "
        f"h = Mul (v, ra) {TO_BYTES}"
    )
    text = f"g (uint8[9,32] x) => (uint8[1,48] y) {{ {body} }}"
    names = ("ra", "low", "high", "m")
    weights = {name: np.asarray(CONSTANTS[name]) for name in names}
    weights |= {"w1": random_bytes("int8", 32, 48), "axes": np.array([0])}
    model = model_from_text(text, weights)
    x = random_bytes("uint8", 9, 32)
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_array_equal(compile_in_memory(model).run(x), expected)
    # The sum itself is int32.
    assert stored(model) == ["uint8", "int32", "uint8"]
