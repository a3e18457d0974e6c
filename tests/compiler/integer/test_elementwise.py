"""Sums, products, joins, bounds and averages of bytes, against onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from tests.compiler.integer.harness import (
    VNNI,
    bundle_outputs,
    integer_outputs,
    largest_step,
    lower,
    operators,
    run_onnxruntime,
    runs,
)
from tests.compiler.integer.islands import Island

SHAPE = (2, 5, 7, 9)
TWO = {"a": SHAPE, "b": SHAPE}
ROW = {"f": np.linspace(-2, 2, 9, dtype=np.float32)}

# As onnxruntime's QLinear operator of the name, bit for bit.
EXACT = {
    "add": Island("r = Add(ad, bd)", TWO),
    "add int8": Island("r = Add(ad, bd)", TWO, inputs="int8", result="int8"),
    "add broadcast": Island("r = Add(ad, bd)", {"a": SHAPE, "b": (5, 1, 1)}),
    "add to itself": Island("r = Add(ad, ad)", {"a": SHAPE}),
    "mul": Island("r = Mul(ad, bd)", TWO),
    "mul broadcast": Island("r = Mul(bd, ad)", {"a": SHAPE, "b": (2, 5, 1, 1)}),
    "concat": Island("r = Concat<axis=1>(ad, bd)", {"a": SHAPE, "b": (2, 3, 7, 9)}),
    "global average": Island("r = GlobalAveragePool(ad)", {"a": SHAPE}),
}
WITHIN_A_STEP = {
    "add relu": Island("r0 = Add(ad, bd)\nr = Relu(r0)", TWO, zero_point=30),
    "add constant": Island("r = Add(ad, f)", {"a": SHAPE}, ROW),
    "sub": Island("r = Sub(ad, bd)", TWO),
    "constant minus": Island("r = Sub(f, ad)", {"a": SHAPE}, ROW),
    "mul constant": Island("r = Mul(f, ad)", {"a": SHAPE}, ROW),
    "mul itself": Island("r = Mul(ad, ad)", {"a": SHAPE}),
    "div constant": Island("r = Div(ad, f)", {"a": SHAPE}, {"f": ROW["f"] + np.float32(0.1)}),
    "concat constant": Island(
        "r = Concat<axis=0>(ad, f)", {"a": (4, 9)}, {"f": np.eye(9, dtype=np.float32)}
    ),
    "relu": Island("r = Relu(ad)", {"a": SHAPE}),
    "clip": Island(
        "lo = Constant<value_float=-0.7>()\nhi = Constant<value_float=1.1>()\nr = Clip(ad, lo, hi)",
        {"a": SHAPE},
    ),
    "global average int8": Island(
        "r = GlobalAveragePool(ad)", {"a": SHAPE}, inputs="int8", result="int8"
    ),
    "mean": Island(
        "x = Constant<value_ints=[-1, 1]>()\nr = ReduceMean<keepdims=0>(ad, x)", {"a": SHAPE}
    ),
    "mean of all": Island("r = ReduceMean(ad)", {"a": SHAPE}, zero_point=3),
    "average pool": Island("r = AveragePool<kernel_shape=[3,2], strides=[2,1]>(ad)", {"a": SHAPE}),
    "average pool padded": Island(
        "r = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1], count_include_pad=1>(ad)", {"a": SHAPE}
    ),
}
EXACT_BYTES = {
    "scale": Island("r = Reshape(ad, s)", {"a": (4, 100)}, {"s": np.array([8, 50])}),
    "scale int8": Island(
        "r = Reshape(ad, s)", {"a": (4, 100)}, {"s": np.array([8, 50])}, inputs="int8"
    ),
}


def results(island: Island, **more: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the integers, and of onnxruntime's fused and plain runs; all nodes must be integer."""
    model, arrays = island.model(), island.arrays()
    lowered = lower(model, VNNI, **more)
    assert set(runs(lowered).values()) == {"integer"}, lowered.nodes
    assert "DequantizeLinear" not in operators(lowered)
    return (
        integer_outputs(lowered, arrays)[0],
        run_onnxruntime(model, arrays, fused=True)[0],
        run_onnxruntime(model, arrays, fused=False)[0],
    )


@pytest.mark.parametrize("name", [*EXACT, *EXACT_BYTES])
def test_it_is_what_onnxruntime_computes(name: str) -> None:
    ours, fused, plain = results((EXACT | EXACT_BYTES)[name])
    assert np.array_equal(ours, fused)
    assert largest_step(ours, plain) <= 1
    assert len(np.unique(ours)) > 7


@pytest.mark.parametrize("name", WITHIN_A_STEP)
def test_it_is_within_a_step(name: str) -> None:
    ours, fused, plain = results(WITHIN_A_STEP[name])
    assert largest_step(ours, plain) <= 1
    assert largest_step(ours, fused) <= 1
    assert (ours != plain).mean() < 0.02 or ours.size < 100
    assert len(np.unique(ours)) > 3 or ours.size == 1


@pytest.mark.parametrize("name", [*EXACT, *WITHIN_A_STEP])
def test_fixed_point_is_within_a_step(name: str) -> None:
    island = (EXACT | WITHIN_A_STEP)[name]
    ours, _, plain = results(island, requantization="fixed-point")
    assert largest_step(ours, plain) <= 1


def test_fixed_point_sums_are_int32() -> None:
    lowered = lower(EXACT["add"].model(), VNNI, "fixed-point")
    assert "BitShift" in operators(lowered)
    assert not {"Round", "DequantizeLinear"} & set(operators(lowered))


REFUSED = {
    "add in float": (
        Island("r = Add(ad, bd)", TWO, quantized=False),
        "its result is needed in float",
    ),
    "half of it float": (
        Island("t = Tanh(bd)\nr = Add(ad, t)", TWO),
        "one of its operands is not quantized",
    ),
    "divisor": (
        Island("r = Div(ad, bd)", TWO, quantized=False),
        "it divides by what is computed, or by zero",
    ),
    "concat of scales": (
        Island("r = Concat<axis=0>(ad, bd)", TWO, quantized=False),
        "its operands have different scales, and its result is needed in float",
    ),
    "clip in float": (
        Island("h = Constant<value_float=0.7>()\nr = Clip(ad, , h)", {"a": SHAPE}, quantized=False),
        "its result is needed in float, and its bounds may have no byte",
    ),
    "borders": (
        Island("r = AveragePool<kernel_shape=[3,3], pads=[1,1,1,1]>(ad)", {"a": SHAPE}),
        "its windows at the border have fewer elements",
    ),
    "interpolation": (
        Island(
            'r = Resize<mode="linear">(ad, , s)',
            {"a": SHAPE},
            {"s": np.array([1, 1, 2, 2], np.float32)},
        ),
        "it interpolates",
    ),
    "softmax": (
        Island("r = Softmax<axis=-1>(ad)", {"a": SHAPE}),
        "it is computed in float, where it keeps its accuracy",
    ),
    "sigmoid": (
        Island("r = Sigmoid(ad)", {"a": SHAPE}),
        "it is computed in float, in the registers of the kernel that reads the bytes",
    ),
    "cumsum": (
        Island("k = Constant<value_int=1>()\nr = CumSum(ad, k)", {"a": SHAPE}),
        "there is no integer form of CumSum",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_stays_in_float_and_says_why(name: str) -> None:
    island, reason = REFUSED[name]
    lowered = lower(island.model())
    node = lowered.nodes[-1]
    assert (node.runs, node.reason) == ("float", reason)
    arrays = island.arrays()
    (ours,) = integer_outputs(lowered, arrays)
    (plain,) = run_onnxruntime(island.model(), arrays, fused=False)
    np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize(
    "name", ["add", "mul broadcast", "concat", "global average", "average pool"]
)
def test_a_bundle_computes_the_same(name: str, tmp_path: Path) -> None:
    island = (EXACT | WITHIN_A_STEP)[name]
    (found,) = bundle_outputs(island.model(), island.arrays(), tmp_path)
    (ours,) = integer_outputs(lower(island.model()), island.arrays())
    # LLVM contracts a product and a sum into one multiply-add, which rounds once instead of twice.
    assert largest_step(found, ours) <= (1 if name in ("add", "mul broadcast") else 0)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "concat"])
def test_a_bundle_computes_fixed_point(name: str, tmp_path: Path) -> None:
    island = (EXACT | WITHIN_A_STEP)[name]
    lowered = lower(island.model(), VNNI, "fixed-point")
    (ours,) = bundle_outputs(with_weights(lowered.model), island.arrays(), tmp_path)
    (expected,) = integer_outputs(lowered, island.arrays())
    assert np.array_equal(ours, expected)
