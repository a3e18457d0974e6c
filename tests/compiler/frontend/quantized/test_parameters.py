"""Scales, zero points and axes that do not fit are refused, with the node's name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.frontend.quantized.quantized_models import (
    integers,
    quantized,
    same_when_read,
)

THREE = np.array([0.1, 0.2, 0.3], np.float32)

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "axis beyond the rank": ("Q<axis=2>(x,s)", {"s": THREE}, "axis is 2, but its input has only 2"),
    "axis before the first": ("Q<axis=-3>(x,s)", {"s": THREE}, "axis is -3"),
    "scales of another count": ("Q<axis=0>(x,s)", {"s": THREE}, "3 values, but axis 0"),
    "scale of two dimensions": ("Q(x,s)", {"s": np.ones((2, 3), np.float32)}, "shape [2, 3]"),
    "zero point of another shape": (
        "Q(x,s,z)",
        {"s": THREE, "z": integers(2)},
        "its zero point has the shape [2], its scale [3]",
    ),
    "one zero point of three": ("Q(x,s,z)", {"s": THREE, "z": integers()}, "zero point"),
    "blocks of another count": (
        "Q<axis=1,block_size=2>(x,s)",
        {"s": np.ones((2, 3), np.float32)},
        "blocks of 2 along axis 1",
    ),
    "negative blocks": (
        "Q<block_size=-2>(x,s)",
        {"s": np.ones((2, 2), np.float32)},
        "blocks of -2",
    ),
    "scale of 0": ("Q(x,s)", {"s": np.float32(0)}, "is 0, and quantizing divides by it"),
    "scale that is not a number": ("Q(x,s)", {"s": np.float32("nan")}, "is not finite"),
    "infinite scale of one channel": (
        "Q(x,s)",
        {"s": np.array([1, np.inf, 1], np.float32)},
        "is not finite",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_quantize_linear(case):
    call, constants, message = REFUSED[case]
    model = quantized(
        f"g (float[2,3] x) => (uint8[2,3] y) {{ y = {call.replace('Q', 'QuantizeLinear')} }}",
        21,
        **constants,
    )
    model.graph.node[0].name = "encoder/quantize"
    with pytest.raises(UserInputError) as caught:
        read(model)
    assert "node 'encoder/quantize' (QuantizeLinear)" in caught.value.what
    assert message in caught.value.what
    assert caught.value.hint


def test_a_weight_of_the_wrong_axis():
    model = quantized(
        "g (float[2,8] x) => (float[2,3] y) { d = DequantizeLinear<axis=0>(w,s) y = MatMul(x,d) }",
        w=integers(8, 3),
        s=THREE,
    )
    with pytest.raises(UserInputError, match="3 values, but axis 0 of its input, of shape"):
        read(model)


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"sy": np.float32(0)}, "its scale 'sy' is 0"),
        ({"sx": np.float32("inf")}, "its scale 'sx' is not finite"),
        ({"zw": integers(2, dtype="int8")}, "zero point, has the shape"),
    ],
)
def test_qlinear_conv(constants, message):
    model = quantized(
        "g (uint8[1,2,4,4] x) => (uint8[1,3,2,2] y) { y = QLinearConv(x,sx,zx,w,sw,zw,sy,zy) }",
        **{
            "w": integers(3, 2, 3, 3, dtype="int8"),
            "sw": THREE,
            "zw": np.int8(0),
            **constants,
        },
    )
    with pytest.raises(UserInputError, match="QLinearConv") as caught:
        read(model)
    assert message in caught.value.what


def test_a_channel_of_zeros_may_have_the_scale_0():
    """Multiplying by 0 is well defined: quantizers write it for a channel without weights."""
    model = quantized(
        "g (float[2,8] x) => (float[2,3] y) { d = DequantizeLinear<axis=1>(w,s) y = MatMul(x,d) }",
        w=integers(8, 3),
        s=np.array([0.1, 0, 0.3], np.float32),
    )
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    same_when_read(model, {"x": x})


def test_an_operator_that_is_not_known_is_named():
    model = quantized("g (uint8[2,8] x) => (uint8[2,8] y) { y = com.microsoft.QOrderedGelu(x) }")
    model.graph.node[0].name = "gelu"
    with pytest.raises(UserInputError, match=r"com.microsoft::QOrderedGelu .*'gelu'"):
        read(model)


NBITS = "K=64,N=6,bits=4,block_size=32"


@pytest.mark.parametrize(
    ("attributes", "constants", "message"),
    [
        ("K=64,N=6,bits=3,block_size=32", {}, "weights of 3 bits"),
        ("K=64,N=6,bits=4,block_size=24", {}, "block_size is 24"),
        ("K=32,N=6,bits=4,block_size=32", {}, "rows of 64 values, its attribute K is 32"),
        (NBITS, {"w": integers(6, 2, 8)}, "its weight: 96 values"),
        (NBITS, {"s": np.ones((6, 3), np.float32)}, "its scales: 18 values"),
        (NBITS, {"z": integers(6, 2)}, "its zero points: 12 values"),
        (NBITS, {"i": np.full(64, 2, np.int32)}, "its g_idx names a block beyond the 2"),
        (NBITS, {"b": np.ones(7, np.float32)}, "its bias: 7 values"),
    ],
)
def test_matmul_nbits(attributes, constants, message):
    """What its kernel would read beyond its end is refused."""
    given = {
        "w": integers(6, 2, 16),
        "s": np.ones((6, 2), np.float32),
        "z": integers(6, 1),
        "i": np.resize(np.array([0, 1], np.int32), 64),
        "b": np.ones(6, np.float32),
    }
    text = (
        "g (float[3,64] x) => (float[3,6] y)"
        f"{{ y = com.microsoft.MatMulNBits<{attributes}>(x,w,s,z,i,b) }}"
    )
    model = quantized(text, **{**given, **constants})
    model.graph.node[0].name = "lm_head"
    with pytest.raises(UserInputError, match="'lm_head'") as caught:
        read(model)
    assert message in caught.value.what
    assert read(quantized(text.replace(attributes, NBITS), **given)).outputs[0].shape == (3, 6)
