"""Layers that differ by the scale of their weights have one kernel."""

from __future__ import annotations

import numpy as np

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import compile_in_memory
from tests.schedules.integer_products import random_bytes

LAYER = """q{at}, s{at}, z{at} = DynamicQuantizeLinear (x{at})
    both{at} = Mul (s{at}, scale{at})
    sums{at} = MatMulInteger (q{at}, w{at}, z{at})
    floats{at} = Cast <to=1> (sums{at})
    {result} = Mul (floats{at}, both{at})
"""


def test_two_layers_have_one_kernel() -> None:
    body = LAYER.format(at=0, result="x1") + LAYER.format(at=1, result="y")
    weights = {f"w{at}": random_bytes("int8", 32, 32, seed=at) for at in range(2)}
    scales = {f"scale{at}": np.array(0.01 + at / 99, np.float32) for at in range(2)}
    network = model_from_text(
        f"g (float[6,32] x0) => (float[6,32] y) {{ {body} }}", weights | scales
    )
    optimised = optimise(import_onnx(read(network)), resolve_target("host"))
    products = [name for name, origin in optimised.calls if "integer_matmul" in origin.operators]
    assert len(products) == 2
    assert len(set(products)) == 1
    x = random_array(6, 32)
    expected = run_reference(network, {"x0": x})["y"]
    np.testing.assert_allclose(compile_in_memory(network).run(x), expected, rtol=1e-5)


def test_a_scalar_that_is_a_result_stays_one() -> None:
    network = model_from_text(
        "g (float[6] x) => (float y) { a = ReduceMax <keepdims=0> (x) y = Mul (a, w) }",
        {"w": np.array(3, np.float32)},
    )
    x = random_array(6)
    actual = compile_in_memory(network).run(x)
    assert actual.shape == ()
    assert actual == x.max() * np.float32(3)
