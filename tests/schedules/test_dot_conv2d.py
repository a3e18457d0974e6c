"""Convolutions of integers are exact, on every kind of machine that this one can play."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.schedules.intrinsics.dot_product import USMMLA, VPDPBUSD, DotProduct
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.schedules.operators.contraction import ROLE
from autoglm_tvm.schedules.operators.dot_matmul import dot_matmul
from autoglm_tvm.schedules.operators.pair_matmul import pair_matmul
from autoglm_tvm.schedules.rules.bias import start_from_bias
from autoglm_tvm.schedules.tiles import Tile
from autoglm_tvm.targets import Target, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text
from tests.schedules.harness import Compiled, compile_in_memory
from tests.schedules.integer_convolutions import IntegerConvolution, requantized_network
from tests.schedules.integer_products import random_bytes

# CPU, features, what multiplies there.
LEVELS = {
    "this machine": (None, None, None),
    "AVX2 with VNNI": ("x86-64-v3", "+avxvnni", "vnni"),
    "AVX2": ("x86-64-v3", None, "pmaddwd"),
    "AVX": ("x86-64-v2", "+avx", ""),
}


def target_of(level: str) -> Target:
    cpu, features, kind = LEVELS[level]
    try:
        target = resolve_target("host", cpu=cpu, features=features)
    except UserInputError as error:
        pytest.skip(error.what)
    assert kind is None or machine_of(target).dot_product == kind
    return target


def zero(number: int, dtype: str = "uint8") -> np.ndarray:
    return np.array(number, dtype)


def check(convolution: IntegerConvolution, target: Target | None = None) -> Compiled:
    compiled = compile_in_memory(convolution.network(), target)
    assert "contraction" in compiled.rules, compiled.rules
    np.testing.assert_array_equal(compiled.run(convolution.x), convolution.expected())
    return compiled


def convolution(
    image: tuple[int, ...],
    weight: tuple[int, ...],
    x: str = "uint8",
    w: str = "int8",
    **more: object,
) -> IntegerConvolution:
    """Of random bytes; the zero point of `x` is 113, or -7 of signed ones."""
    x_zero = zero(113) if x == "uint8" else zero(-7, "int8")
    settings: dict[str, object] = {"x_zero": x_zero} | more
    return IntegerConvolution(
        random_bytes(x, *image),
        random_bytes(w, *weight, seed=1),
        **settings,  # type: ignore
    )


# Nothing divides anything, and everything is different in height and width.
WINDOWS = {
    "3x3": convolution((2, 7, 9, 11), (19, 7, 3, 3), pads=(1, 1, 1, 1)),
    "whole words": convolution((1, 8, 6, 15), (33, 8, 3, 3), pads=(1, 0, 0, 2)),
    "no border, whole words": convolution((1, 8, 6, 15), (9, 8, 2, 3)),
    "no border, words past the end": convolution((1, 5, 6, 7), (9, 5, 3, 3)),
    "stem": convolution((1, 3, 17, 19), (24, 3, 7, 7), strides=(2, 2), pads=(3, 3, 3, 3)),
    "strided": convolution((1, 12, 13, 10), (21, 12, 3, 3), strides=(2, 3), pads=(1, 1, 0, 1)),
    "strided 1x1": convolution((2, 12, 9, 10), (40, 12, 1, 1), strides=(2, 2)),
    "strided 1x1, words past the end": convolution((1, 6, 9, 9), (40, 6, 1, 1), strides=(2, 2)),
    "1x1": convolution((2, 12, 5, 7), (37, 12, 1, 1)),
    "1x1 with a border": convolution((1, 12, 5, 7), (17, 12, 1, 1), pads=(1, 1, 1, 1)),
    "dilated": convolution((1, 7, 13, 14), (10, 7, 3, 3), dilations=(2, 3), pads=(2, 3, 2, 3)),
    "dilated, whole words": convolution((1, 16, 9, 9), (20, 16, 3, 3), dilations=(1, 2)),
    "groups": convolution((1, 24, 8, 9), (48, 8, 3, 3), groups=3, pads=(1, 1, 1, 1)),
    "groups of few channels": convolution((1, 18, 8, 9), (30, 3, 3, 3), groups=6),
    "groups, strided 1x1": convolution((1, 10, 9, 9), (6, 5, 1, 1), groups=2, strides=(2, 2)),
    "a row": convolution((2, 6, 21), (11, 6, 5), strides=(2,), pads=(2, 2)),
    "one pixel": convolution((1, 40, 3, 3), (50, 40, 3, 3)),
    "more border than image": convolution((1, 4, 1, 2), (3, 4, 3, 3), pads=(2, 2, 2, 2)),
}


SLOW = [pytest.param(level, marks=pytest.mark.slow) for level in ("AVX2 with VNNI", "AVX")]


@pytest.mark.parametrize("level", ["this machine", "AVX2", *SLOW])
@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name: str, level: str) -> None:
    check(WINDOWS[name], target_of(level))


@pytest.mark.parametrize("level", ["this machine", "AVX2"])
@pytest.mark.parametrize("x", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("w", "w_zero"),
    [("int8", None), ("uint8", 128), ("uint8", 0), ("uint8", 131), ("int8", -128)],
)
def test_types_and_zero_points(x: str, w: str, w_zero: int | None, level: str) -> None:
    of_weight = None if w_zero is None else zero(w_zero, w)
    found = convolution((1, 6, 7, 9), (20, 6, 3, 3), x, w, w_zero=of_weight, pads=(1, 1, 1, 1))
    check(found, target_of(level))
    if w_zero in (None, 131):
        check(replace(found, x_zero=None), target_of(level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("x", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_the_largest_sums(x: str, low: int, high: int, level: str) -> None:
    """Where an instruction saturated, these would be cut off."""
    image = np.repeat(np.array([low, high], x), 64 * 9 // 2).reshape(1, 64, 3, 3)
    weight = np.resize(np.repeat(np.array([-128, 127, -127], np.int8), 64 * 9), (6, 64, 3, 3))
    for number in (low, high):
        check(
            IntegerConvolution(image, weight, zero(number, x), pads=(1, 1, 1, 1)), target_of(level)
        )


@pytest.mark.parametrize("level", ["this machine", "AVX2"])
def test_a_zero_point_that_is_computed(level: str) -> None:
    for found in (WINDOWS["3x3"], WINDOWS["strided 1x1"], WINDOWS["1x1"]):
        compiled = compile_in_memory(found.network(computed_zero=True), target_of(level))
        for number in (0, 77, 255):
            changed = replace(found, x_zero=zero(number))
            np.testing.assert_array_equal(compiled.run(found.x, zero(number)), changed.expected())


@pytest.mark.parametrize("level", ["this machine", "AVX2"])
def test_the_bias_is_no_operator_of_its_own(level: str) -> None:
    for name in ("3x3", "1x1"):
        found = WINDOWS[name]
        bias = np.arange(len(found.w), dtype=np.int32) * 1001 - 5000
        compiled = check(replace(found, bias=bias), target_of(level))
        assert not [name for names in compiled.operators for name in names if "add" in name]


@pytest.mark.parametrize(("columns", "instruction"), [(32, VPDPBUSD), (40, VPDPBUSD), (32, USMMLA)])
def test_sums_of_whole_tiles_start_from_the_bias(columns: int, instruction: DotProduct) -> None:
    from tvm import te

    tile = Tile(4, 2, 8, 1, instruction.in_pairs)
    multiply = pair_matmul if instruction.in_pairs else dot_matmul
    width = tile.columns // 2 if instruction.in_pairs else tile.columns
    data = te.placeholder((9, 64), "uint8", "data")
    words: Any = (-(-columns // width), 64 // instruction.group, tile.columns)
    weight = te.placeholder(words, "int32", "weight")
    bias: Any = te.placeholder((columns,), "int32", "bias")
    result = multiply(data, weight, columns, tile, instruction, "", bias)
    kernel = Kernel(te.create_prim_func([data, bias, weight, result], "int64"))
    start_from_bias(kernel)
    total, unpack = kernel.marked(ROLE, "sum"), kernel.marked(ROLE, "unpack")
    assert total is not None
    assert unpack is not None
    whole = columns % tile.columns == 0 and not instruction.in_pairs
    assert ("bias" in str(total.statement.init)) == whole
    assert ("bias" in str(unpack.statement.body)) != whole


def test_a_weight_takes_a_byte() -> None:
    found = convolution((1, 64, 6, 6), (96, 64, 3, 3), pads=(1, 1, 1, 1))
    weights = check(found).weights
    # Beside it what is added to each channel.
    assert sum(array.nbytes for array in weights) == found.w.size + 4 * 96


def test_depthwise_ones_are_left_to_their_own_rule() -> None:
    found = convolution((1, 24, 7, 9), (24, 1, 3, 3), groups=24, pads=(1, 1, 1, 1))
    compiled = compile_in_memory(found.network())
    assert "contraction" not in compiled.rules
    np.testing.assert_array_equal(compiled.run(found.x), found.expected())


def test_a_weight_that_is_computed_stays_int32() -> None:
    network = model_from_text(
        "g (uint8[1,4,6,7] x, int8[5,4,3,3] w) => (int32[a,b,c,d] y) { y = ConvInteger (x, w) }"
    )
    found = convolution((1, 4, 6, 7), (5, 4, 3, 3), x_zero=None)
    np.testing.assert_array_equal(
        compile_in_memory(network).run(found.x, found.w), found.expected()
    )


def test_an_image_whose_size_is_not_known() -> None:
    for name in ("3x3", "stem", "whole words", "strided 1x1, words past the end"):
        found = WINDOWS[name]
        network = found.network()
        dims = network.graph.input[0].type.tensor_type.shape.dim
        for axis, parameter in ((0, "batch"), (2, "height"), (3, "width")):
            dims[axis].dim_param = parameter
        network.graph.output[0].type.tensor_type.ClearField("shape")
        compiled = compile_in_memory(network)
        for x in (found.x, found.x[:1, :, 1:, :-2]):
            x = np.ascontiguousarray(x)
            np.testing.assert_array_equal(compiled.run(x), replace(found, x=x).expected())


def test_the_bits_do_not_depend_on_threads() -> None:
    found = convolution((1, 24, 20, 21), (48, 24, 3, 3), pads=(1, 1, 1, 1))
    for threads in (1, 2, 8):
        check(found, resolve_target("host", threads=threads))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("x", "channels", "last"), [("uint8", 20, 9), ("int8", 64, 48)])
def test_requantization_is_computed_on_the_tile(
    x: str, channels: int, last: int, level: str
) -> None:
    import onnxruntime

    network = requantized_network(x, channels, last)
    data = random_bytes(x, 1, 3, 15, 17)
    compiled = compile_in_memory(network, target_of(level))
    session = onnxruntime.InferenceSession(network.SerializeToString())
    np.testing.assert_array_equal(compiled.run(data), session.run(None, {"x": data})[0])
    assert compiled.rules.count("contraction") == 2
