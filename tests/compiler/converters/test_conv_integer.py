"""ConvInteger means what ONNX says, with every attribute and zero point that it may have."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest

from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import compile_in_memory
from tests.schedules.integer_convolutions import IntegerConvolution
from tests.schedules.integer_products import random_bytes

ZERO = np.array(99, np.uint8)
IMAGE = IntegerConvolution(
    random_bytes("uint8", 1, 4, 9, 8), random_bytes("int8", 6, 4, 3, 2), ZERO
)


def check(convolution: IntegerConvolution) -> None:
    compiled = compile_in_memory(convolution.network())
    np.testing.assert_array_equal(compiled.run(convolution.x), convolution.expected())


# What auto_pad adds to a height of 9 and a width of 8, for windows of 3 x 2.
PADDED = {
    ("SAME_UPPER", (1, 1)): (1, 0, 1, 1),
    ("SAME_LOWER", (1, 1)): (1, 1, 1, 0),
    ("SAME_UPPER", (2, 3)): (1, 0, 1, 0),
    ("SAME_UPPER", (4, 1)): (1, 0, 1, 1),
    ("VALID", (1, 2)): (0, 0, 0, 0),
}


@pytest.mark.parametrize(("mode", "strides"), PADDED)
def test_padding_that_is_worked_out(mode: str, strides: tuple[int, int]) -> None:
    convolution = replace(IMAGE, strides=strides, pads=PADDED[mode, strides])
    network = convolution.network()
    (node,) = network.graph.node
    kept = [attribute for attribute in node.attribute if attribute.name != "pads"]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute("auto_pad", mode)])
    compiled = compile_in_memory(network)
    np.testing.assert_array_equal(compiled.run(convolution.x), convolution.expected())


def test_same_padding_of_an_unknown_size_needs_no_size_without_a_stride() -> None:
    text = "g (uint8[1,2,H,W] x) => (int32[1,3,H,W] y) {{ y = ConvInteger <{}> (x, w) }}"
    weights = {"w": random_bytes("int8", 3, 2, 3, 3)}
    same = model_from_text(text.format('auto_pad = "SAME_UPPER"'), weights)
    x = random_bytes("uint8", 1, 2, 5, 6)
    expected = IntegerConvolution(x, weights["w"], pads=(1, 1, 1, 1)).expected()
    np.testing.assert_array_equal(compile_in_memory(same).run(x), expected)
    strided = text.replace("[1,3,H,W]", "[1,3,a,b]").format(
        'auto_pad = "SAME_UPPER", strides = [2, 2]'
    )
    with pytest.raises(UserInputError, match="SAME_UPPER of an axis of unknown size"):
        compile_in_memory(model_from_text(strided, weights))


@pytest.mark.parametrize(
    "changed",
    [
        {"w_zero": np.arange(6, dtype=np.int8)},
        {"w_zero": np.array([5], np.int8)},
        {"x_zero": np.array([7], np.uint8)},
        {"x_zero": None, "w_zero": np.array(5, np.int8)},
        {"x_zero": None},
        {"more": {"kernel_shape": [3, 2]}},
    ],
    ids=[
        "one for each channel",
        "a vector of one",
        "of the image",
        "of the weight",
        "none",
        "kernel",
    ],
)
def test_zero_points(changed: dict[str, Any]) -> None:
    check(replace(IMAGE, **changed))


def test_one_and_three_axes() -> None:
    row = replace(
        IMAGE,
        x=random_bytes("uint8", 2, 4, 13),
        w=random_bytes("int8", 6, 2, 3),
        pads=(1, 2),
        strides=(2,),
        groups=2,
    )
    check(row)
    check(
        replace(
            IMAGE,
            x=random_bytes("uint8", 1, 2, 4, 5, 3),
            w=random_bytes("int8", 3, 2, 3, 2, 2),
            pads=(1, 0, 0, 1, 1, 0),
        )
    )


def test_inside_of_a_branch() -> None:
    text = """g (bool c, uint8[1,2,4,5] x) => (int32[1,3,4,5] y) {
        y = If (c) <
            then_branch = a () => (int32[1,3,4,5] p) { p = ConvInteger <{pads}> (x, w, z) },
            else_branch = b () => (int32[1,3,4,5] q) { q = ConvInteger <{pads}> (x, v, z) }
        > }"""
    text = text.replace("{pads}", "pads = [1, 1, 1, 1]")
    weights = {
        "w": random_bytes("int8", 3, 2, 3, 3),
        "v": random_bytes("int8", 3, 2, 3, 3, seed=9),
        "z": ZERO,
    }
    x = random_bytes("uint8", 1, 2, 4, 5)
    compiled = compile_in_memory(model_from_text(text, weights))
    for chosen, name in ((True, "w"), (False, "v")):
        found = compiled.run(np.array(chosen), x)
        expected = IntegerConvolution(x, weights[name], ZERO, pads=(1, 1, 1, 1)).expected()
        np.testing.assert_array_equal(found, expected)
