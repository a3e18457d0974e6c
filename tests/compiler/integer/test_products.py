"""Conv, MatMul and Gemm of bytes: as onnxruntime's QLinearConv and QLinearMatMul, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.schedules.machine import Machine
from tests.compiler.integer.harness import (
    DOTPROD,
    PLAIN,
    VNNI,
    bundle_outputs,
    integer_outputs,
    largest_step,
    lower,
    operators,
    run_onnxruntime,
    runs,
)
from tests.compiler.integer.islands import Island, int32_bias, weight

BIAS = "bd = DequantizeLinear<axis=0>(b, sb, zb)\n"


def conv(
    group: int = 1,
    bias: str = "int32",
    after: str = "",
    kernel: int = 3,
    attributes: str = "pads=[1,0,2,1]",
    weights: dict[str, Any] | None = None,
    **more: Any,
) -> Island:
    """A convolution of 12 channels into 24 on 9 x 11."""
    constants = weight(24, 12 // group, kernel, kernel, **(weights or {}))
    constants |= int32_bias(constants, 24)
    constants["f"] = np.linspace(-2, 2, 24, dtype=np.float32)
    operand = {"": "", "int32": ", bd", "float": ", f"}[bias]
    body = "wd = DequantizeLinear<axis=0>(w, sw, zw)\n" + BIAS
    body += (
        f"{'r0' if after else 'r'} = Conv<group={group}, {attributes}>(xd, wd{operand})\n{after}"
    )
    return Island(body, {"x": (2, 12, 9, 11)}, constants, **more)


def matmul(
    after: str = "", weights: dict[str, Any] | None = None, rows: int = 7, **more: Any
) -> Island:
    """A product of [2, rows, 19] by [19, 22]."""
    constants = weight(19, 22, **{"axis": 1, **(weights or {})})
    constants |= int32_bias(constants, 22)
    constants["f"] = np.linspace(-2, 2, 22, dtype=np.float32)
    body = "wd = DequantizeLinear<axis=1>(w, sw, zw)\n" + BIAS
    body += f"{'r0' if after else 'r'} = MatMul(xd, wd)\n{after}"
    return Island(body, {"x": (2, rows, 19)}, constants, **more)


def gemm(attributes: str, bias: str = ", bd", **more: Any) -> Island:
    """Gemm of [5, 19] by the transpose of [22, 19]."""
    constants = weight(22, 19, axis=0)
    constants |= int32_bias(constants, 22)
    constants["f"] = np.linspace(-2, 2, 22, dtype=np.float32).reshape(1, 22)
    body = "wd = DequantizeLinear<axis=0>(w, sw, zw)\n" + BIAS
    body += f"r = Gemm<transB=1{attributes}>(xd, wd{bias})"
    return Island(body, {"x": (5, 19)}, constants, **more)


# What onnxruntime fuses into one QLinear operator of the same meaning.
EXACT = {
    "conv": conv(),
    "conv without bias": conv(bias=""),
    "conv int8": conv(inputs="int8", result="int8"),
    "conv 1x1": conv(kernel=1, attributes="pads=[0,0,0,0]"),
    "conv strided, dilated": conv(attributes="strides=[2,3], dilations=[2,1], pads=[2,1,2,1]"),
    "conv auto_pad": conv(attributes='auto_pad="SAME_UPPER", strides=[2,2]'),
    "conv grouped": conv(group=3),
    "conv depthwise": conv(group=12),
    "conv per tensor": conv(weights={"axis": None}),
    "conv uint8 weights": conv(weights={"dtype": "uint8", "axis": None}),
    "conv relu": conv(after="r = Relu(r0)", zero_point=0),
    "matmul": matmul(),
    "matmul int8": matmul(inputs="int8", result="int8"),
    "matmul per tensor": matmul(weights={"axis": None}),
    "matmul uint8 weights": matmul(weights={"dtype": "uint8"}),
    "matmul one row": matmul(rows=1),
    "gemm": gemm(""),
    "gemm without bias": gemm("", bias=""),
}
# What it computes in float, or in another order.
WITHIN_A_STEP = {
    "conv float bias": conv(bias="float"),
    "conv relu, zero point in the middle": conv(after="r = Relu(r0)", zero_point=90),
    "conv clip": conv(
        after="lo = Constant<value_float=-1.5>()\nhi = Constant<value_float=3.0>()\n"
        "r = Clip(r0, lo, hi)"
    ),
    "matmul bias": matmul(after="r = Add(f, r0)"),
    "matmul int32 bias": matmul(after="r = Add(r0, bd)"),
    "matmul bias relu": matmul(after="r1 = Add(r0, f)\nr = Relu(r1)"),
    "gemm alpha, beta": gemm(", alpha=0.5, beta=2.0"),
    "gemm float bias": gemm("", bias=", f"),
}


def check_integer(island: Island, machine: Machine, **more: str) -> tuple[list, list, list]:
    """Lower, and return results: of the integers, of onnxruntime's fused and plain runs."""
    model = island.model()
    lowered = lower(model, machine, **more)
    assert set(runs(lowered).values()) == {"integer"}, lowered.nodes
    kept = {"Conv", "MatMul", "Gemm", "Relu"} & set(operators(lowered))
    assert not kept
    arrays = island.arrays()
    return (
        integer_outputs(lowered, arrays),
        run_onnxruntime(model, arrays, fused=True),
        run_onnxruntime(model, arrays, fused=False),
    )


@pytest.mark.parametrize("machine", [VNNI, DOTPROD, PLAIN], ids=["vnni", "dotprod", "plain"])
@pytest.mark.parametrize("name", EXACT)
def test_products_are_those_of_onnxruntime(name: str, machine: Machine) -> None:
    (ours,), (fused,), (plain,) = check_integer(EXACT[name], machine)
    assert np.array_equal(ours, fused)
    assert largest_step(ours, plain) <= 1
    assert len(np.unique(ours)) > 20
    assert {ours.min(), ours.max()} & {np.iinfo(ours.dtype).min, np.iinfo(ours.dtype).max}


@pytest.mark.parametrize("name", WITHIN_A_STEP)
def test_products_are_within_a_step_of_float(name: str) -> None:
    (ours,), (fused,), (plain,) = check_integer(WITHIN_A_STEP[name], VNNI)
    assert largest_step(ours, plain) <= 1
    assert largest_step(ours, fused) <= 1
    assert (ours != plain).mean() < 0.01
    assert len(np.unique(ours)) > 20


@pytest.mark.parametrize("name", [*EXACT, *WITHIN_A_STEP])
def test_fixed_point_is_within_a_step(name: str) -> None:
    island = (EXACT | WITHIN_A_STEP)[name]
    (ours,), (fused,), _ = check_integer(island, VNNI, requantization="fixed-point")
    assert largest_step(ours, fused) <= 1
    assert (ours != fused).mean() < 0.01


def test_fixed_point_has_no_float() -> None:
    lowered = lower(conv().model(), VNNI, "fixed-point")
    between = operators(lowered)[1:]
    assert "BitShift" in between
    assert not {"Round", "DequantizeLinear"} & set(between)


@pytest.mark.parametrize(
    "island",
    [
        conv(quantized=False),
        conv(quantized=False, bias="float"),
        matmul(quantized=False),
        matmul(quantized=False, after="r = Add(r0, f)"),
        matmul(quantized=False, after="r = Add(bd, r0)"),
        gemm("", quantized=False),
    ],
    ids=["conv", "conv float bias", "matmul", "matmul bias", "matmul int32 bias", "gemm"],
)
def test_a_product_without_q_behind_is_integer_and_its_result_float(island: Island) -> None:
    (ours,), (fused,), (plain,) = check_integer(island, VNNI)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, plain, rtol=0, atol=2e-6 * np.abs(plain).max())
    np.testing.assert_allclose(ours, fused, rtol=0, atol=2e-6 * np.abs(plain).max())


def test_weights_are_int8_and_zero_points_only_where_needed() -> None:
    lowered = lower(conv(weights={"dtype": "uint8", "axis": None}).model())
    (node,) = (n for n in lowered.model.proto.graph.node if n.op_type == "ConvInteger")
    weights = {t.name: t for t in lowered.model.proto.graph.initializer}
    assert weights[node.input[1]].data_type == weights[node.input[3]].data_type == 3
    centred = lower(conv().model())
    (node,) = (n for n in centred.model.proto.graph.node if n.op_type == "ConvInteger")
    assert len(node.input) == 3


@pytest.mark.parametrize("scale", [1e-12, 1e-20])
def test_a_bias_that_dwarfs_the_scale_is_added_in_float(scale: float) -> None:
    island = conv(bias="float")
    island.constants["sw"][3] = scale
    (ours,), _, (plain,) = check_integer(island, VNNI)
    assert largest_step(ours, plain) <= 1


def test_sums_that_could_leave_int32_stay_in_float() -> None:
    constants = {
        "w": np.full((20000, 2), 127, np.int8),
        "sw": np.array(0.01, np.float32),
        "zw": np.array(0, np.int8),
    }
    island = Island(
        "wd = DequantizeLinear(w, sw, zw)\nr = MatMul(xd, wd)", {"x": (1, 20000)}, constants
    )
    (node,) = lower(island.model()).nodes
    assert (node.runs, node.reason) == ("float", "its sums could leave int32")


REFUSED = {
    "computed operands": (
        Island("r = MatMul(xd, zd)", {"x": (3, 4), "z": (4, 5)}),
        "both of its operands are computed, and its kernels take constant weights",
    ),
    "weight left": (
        Island(
            "wd = DequantizeLinear(w, sw, zw)\nr = MatMul(wd, xd)",
            {"x": (4, 5)},
            weight(3, 4, axis=None),
        ),
        "its input is not quantized to bytes with one scale",
    ),
    "weight float": (
        Island("r = MatMul(xd, w)", {"x": (3, 4)}, {"w": np.ones((4, 5), np.float32)}),
        "its weight is not a quantized constant",
    ),
    "weight along K": (
        Island(
            "wd = DequantizeLinear<axis=0>(w, sw, zw)\nr = MatMul(xd, wd)",
            {"x": (3, 4)},
            weight(4, 5, axis=0),
        ),
        "its weight is not quantized along the output channels",
    ),
    "batched weight": (
        Island(
            "wd = DequantizeLinear(w, sw, zw)\nr = MatMul(xd, wd)",
            {"x": (2, 3, 4)},
            weight(2, 4, 5, axis=None),
        ),
        "its weight has 3 axes",
    ),
    "transA": (
        Island(
            "wd = DequantizeLinear(w, sw, zw)\nr = Gemm<transA=1>(xd, wd)",
            {"x": (4, 3)},
            weight(4, 5, axis=None),
        ),
        "its input is transposed",
    ),
    "3-d convolution": (
        Island(
            "wd = DequantizeLinear(w, sw, zw)\nr = Conv(xd, wd)",
            {"x": (1, 2, 4, 4, 4)},
            weight(3, 2, 2, 2, 2, axis=None),
        ),
        "there is no integer kernel for 3 spatial axes",
    ),
    "transposed convolution": (
        Island(
            "wd = DequantizeLinear(w, sw, zw)\nr = ConvTranspose(xd, wd)",
            {"x": (1, 2, 4, 4)},
            weight(2, 3, 2, 2, axis=None),
        ),
        "there is no integer kernel for ConvTranspose",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_stays_in_float_and_says_why(name: str) -> None:
    island, reason = REFUSED[name]
    lowered = lower(island.model())
    (node,) = lowered.nodes
    assert (node.runs, node.reason) == ("float", reason)
    arrays = island.arrays()
    (ours,) = integer_outputs(lowered, arrays)
    (plain,) = run_onnxruntime(island.model(), arrays, fused=False)
    assert np.array_equal(ours, plain)


@pytest.mark.parametrize("name", ["conv", "conv depthwise", "conv relu", "matmul int8", "gemm"])
def test_a_bundle_computes_the_same(name: str, tmp_path: Path) -> None:
    model, arrays = EXACT[name].model(), EXACT[name].arrays()
    (ours,) = bundle_outputs(model, arrays, tmp_path)
    (expected,) = run_onnxruntime(model, arrays, fused=True)
    assert np.array_equal(ours, expected)


@pytest.mark.parametrize("name", ["conv", "matmul bias"])
def test_a_bundle_computes_fixed_point(name: str, tmp_path: Path) -> None:
    island = (EXACT | WITHIN_A_STEP)[name]
    lowered = lower(island.model(), VNNI, "fixed-point")
    (ours,) = bundle_outputs(with_weights(lowered.model), island.arrays(), tmp_path)
    (expected,) = integer_outputs(lowered, island.arrays())
    assert np.array_equal(ours, expected)


def conv_of_asymmetric_weights(zero_points: list[int]) -> Island:
    """A convolution of uint8 weights, which reach both ends of their type in every channel."""
    constants = weight(6, 4, 3, 3, dtype="uint8")
    constants["w"][:, 0, 0, :2] = [0, 255]
    constants["zw"] = np.array(zero_points, np.uint8)
    body = "wd = DequantizeLinear<axis=0>(w, sw, zw)\nr = Conv<pads=[1,1,1,1]>(xd, wd)"
    return Island(body, {"x": (1, 4, 8, 8)}, constants)


def test_equal_zero_points_of_channels_are_one_for_onnxruntime() -> None:
    (ours,), _, (plain,) = check_integer(conv_of_asymmetric_weights([5] * 6), VNNI)
    assert largest_step(ours, plain) <= 1


def test_a_bundle_takes_another_zero_point_for_each_channel(tmp_path: Path) -> None:
    """onnxruntime's ConvInteger does not."""
    island = conv_of_asymmetric_weights([3, 250, 128, 0, 255, 77])
    model, arrays = island.model(), island.arrays()
    assert set(runs(lower(model)).values()) == {"integer"}
    (ours,) = bundle_outputs(model, arrays, tmp_path)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    assert largest_step(ours, plain) <= 1
