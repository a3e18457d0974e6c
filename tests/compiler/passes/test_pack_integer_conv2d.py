"""Which convolutions of int32 become kernels of bytes, and which stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.passes.dataflow import Dataflow
from autoglm_tvm.compiler.passes.pack_integer_conv2d import pack_integer_conv2d
from autoglm_tvm.compiler.passes.pack_integer_depthwise import pack_integer_depthwise
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import Machine

VNNI = Machine(
    arch="x86_64",
    vector_bytes=64,
    vector_registers=32,
    lane_operand=False,
    threads=1,
    l1_bytes=32 << 10,
    l2_bytes=1 << 20,
    half_conversion=True,
    dot_product="vnni",
)
DEPTHWISE = np.arange(4 * 9, dtype=np.int32).reshape(4, 3, 3, 1) - 18
WEIGHT = np.arange(8 * 9 * 4, dtype=np.int32).reshape(8, 3, 3, 4) % 255 - 127


def module(weight: np.ndarray, zero: int, dtype: str = "uint8", **attributes: Any) -> Any:
    """`weight` over an NHWC image of bytes less a constant."""
    from tvm import relax

    builder, shape = relax.BlockBuilder(), [1, 6, 7, 4]
    tensor_type: Any = relax.TensorType
    data = relax.Var("data", tensor_type(shape, dtype))
    with builder.function("main", [data]):
        with builder.dataflow():
            wide = builder.emit(relax.op.astype(data, "int32"))
            difference = builder.emit(relax.op.subtract(wide, relax.const(zero, "int32")))
            settings = {"data_layout": "NHWC", "kernel_layout": "OHWI"} | attributes
            conv2d: Any = relax.op.nn.conv2d
            sums = conv2d(difference, relax.const(weight), out_dtype="int32", **settings)
            result = builder.emit_output(builder.emit(sums))
        builder.emit_func_output(result)
    return builder.get()


def is_packed(before: Any) -> bool:
    after = pack_integer_conv2d(before, VNNI, Choices())
    after = pack_integer_depthwise(after, VNNI)
    return "nn.conv2d" not in after["main"].script()


def test_a_convolution_of_bytes() -> None:
    assert is_packed(module(WEIGHT, 5, padding=[1, 1]))
    assert is_packed(module(WEIGHT, -5, "int8", padding=[1, 1]))
    assert is_packed(module(DEPTHWISE, 5, padding=[1, 1], groups=4))
    assert is_packed(module(DEPTHWISE, -5, "int8", padding=[1, 1], groups=4))


@pytest.mark.parametrize(("zero", "dtype"), [(-5, "uint8"), (200, "int8")])
@pytest.mark.parametrize(("weight", "groups"), [(WEIGHT, 1), (DEPTHWISE, 4)])
def test_a_border_that_no_byte_is(weight: np.ndarray, groups: int, zero: int, dtype: str) -> None:
    assert not is_packed(module(weight, zero, dtype, padding=[1, 1], groups=groups))


@pytest.mark.parametrize("size", [3, 19])
def test_nothing_is_added_to_depthwise_sums_that_are_whole(size: int) -> None:
    """The sums of small kernels would begin with it, large ones have an operator behind them."""
    weight = np.ones((4, size, size, 1), np.int32)
    padding = [size // 2] * 4

    def operands(zero: int) -> tuple[int, bool]:
        before = module(weight, zero, padding=padding, groups=4)
        main: Any = pack_integer_depthwise(before, VNNI)["main"]
        graph = Dataflow(main)
        calls = [graph.call(variable, "relax.call_tir") for variable in graph.variables]
        kernel = next(call for call in calls if call is not None)
        return len(kernel.args[1]), "R.add" in main.script()

    assert operands(0) == (2, False)
    assert operands(5) == ((3, False) if size == 3 else (2, True))


def test_weights_that_are_no_bytes() -> None:
    assert not is_packed(module(WEIGHT * 2, 5))
    # Each channel takes a byte, though others than int8 has.
    assert is_packed(module(WEIGHT + 300, 5))
    # Not where the sums of windows would be needed for each group.
    groups = WEIGHT[..., :2]
    assert is_packed(module(groups, 5, groups=2))
    assert not is_packed(module(groups + 300, 5, groups=2))


def test_groups_that_fill_no_vector() -> None:
    assert not is_packed(module(WEIGHT[:6, ..., :2], 5, groups=2))


def test_sums_that_may_leave_int32() -> None:
    weight = np.full((8, 63, 63, 4), 127, np.int32)
    assert is_packed(module(weight, 5, padding=[40, 40]))
    assert not is_packed(module(weight.repeat(2, axis=1), 5, padding=[70, 40]))
