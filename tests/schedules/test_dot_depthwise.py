"""Depthwise convolutions of bytes: exact on every machine, and the instructions that do it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.schedules.intrinsics.dot_product import VPDPBUSD
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.dot_depthwise import (
    DotTile,
    dot_depthwise_conv2d,
    pack_dot_depthwise,
    row_plan,
)
from autoglm_tvm.schedules.rules.dot_depthwise import DotDepthwise, choose_dot_tile
from autoglm_tvm.targets import Target, resolve_target
from tests.schedules.harness import compile_in_memory
from tests.schedules.integer_convolutions import IntegerConvolution
from tests.schedules.integer_products import random_bytes
from tests.schedules.requantization import Requantization

DOT = "dot-depthwise"
SAME = (1, 1, 1, 1)


def depthwise(
    shape: tuple[int, ...],
    kernel: tuple[int, int] = (3, 3),
    pads: tuple[int, ...] = SAME,
    stride: int = 1,
    dilation: int = 1,
    zero: int = 120,
    dtype: str = "uint8",
    repeats: int = 1,
) -> IntegerConvolution:
    """Channels first, as ONNX has it; pads are top, left, bottom, right."""
    channels = shape[1]
    weight = random_bytes("int8", channels * repeats, 1, *kernel)
    bias = np.arange(channels * repeats, dtype=np.int32) * 37 - 900
    return IntegerConvolution(
        random_bytes(dtype, *shape),
        weight,
        np.array(zero, dtype),
        strides=(stride, stride),
        pads=pads,
        dilations=(dilation, dilation),
        groups=channels,
        bias=bias,
    )


CASES = {
    "one pixel": depthwise((1, 33, 1, 1)),
    "one channel": depthwise((1, 1, 6, 29)),
    "channels 3": depthwise((1, 3, 9, 10)),
    "channels 58, two images": depthwise((2, 58, 11, 14)),
    "signed": depthwise((1, 7, 6, 29), zero=-5, dtype="int8"),
    "zero point 0": depthwise((1, 16, 5, 9), zero=0),
    "zero point 255": depthwise((1, 24, 7, 7), zero=255),
    "5 x 5, stride 2": depthwise((1, 72, 14, 13), (5, 5), (2, 2, 2, 2), 2),
    "right and bottom": depthwise((2, 40, 15, 40), pads=(0, 0, 1, 1), stride=2),
    "stride 3 skips pixels": depthwise((1, 8, 13, 31), (2, 2), (0, 0, 0, 0), 3),
    "dilation 2": depthwise((1, 20, 12, 37), pads=(2, 2, 2, 2), dilation=2),
    "7 x 7": depthwise((1, 16, 14, 33), (7, 7), (3, 3, 3, 3)),
    "1 x 9": depthwise((1, 16, 4, 29), (1, 9), (0, 4, 0, 4)),
    "9 x 1": depthwise((1, 16, 29, 4), (9, 1), (4, 0, 4, 0)),
    "a kernel as large as the image": depthwise((1, 16, 7, 7), (7, 7), (0, 0, 0, 0)),
    "more padding than kernel": depthwise((1, 8, 3, 4), pads=(4, 5, 4, 5)),
}
# CPUs that this one can play, with what multiplies bytes there. The last is the oldest.
CPUS = {
    "host": None,
    "AVX2": "haswell",
    "SSE": "x86-64-v2",
}


def target_of(name: str, threads: int = 2) -> Target:
    """The host, or an older CPU that it plays."""
    return resolve_target("host", cpu=CPUS[name], threads=threads)


def machine(name: str) -> Machine:
    return machine_of(target_of(name))


@pytest.mark.parametrize("name", CASES)
def test_it_is_exact(name: str) -> None:
    case = CASES[name]
    compiled = compile_in_memory(case.network(), target_of("host"))
    np.testing.assert_array_equal(compiled.run(case.x), case.expected())
    if machine("host").dot_product == "vnni":
        assert DOT in compiled.rules


@pytest.mark.parametrize("cpu", ["AVX2", "SSE"])
@pytest.mark.parametrize("name", ["channels 58, two images", "signed", "5 x 5, stride 2"])
def test_older_cpus_multiply_one_by_one(name: str, cpu: str) -> None:
    """In float32, which is exact for such sums; no int32 image is stored before."""
    case = CASES[name]
    compiled = compile_in_memory(case.network(), target_of(cpu))
    np.testing.assert_array_equal(compiled.run(case.x), case.expected())
    assert compiled.rules.count("depthwise") == 1
    assert set(compiled.rules) <= {"depthwise", "layout-move", "elementwise"}


@pytest.mark.parametrize("cpu", CPUS)
def test_the_largest_sums(cpu: str) -> None:
    """7 x 7 products of -255 and -128, and of 255 and 127."""
    for byte, zero, weight in ((0, 255, -128), (255, 0, 127)):
        case = IntegerConvolution(
            np.full((1, 16, 7, 7), byte, np.uint8),
            np.full((16, 1, 7, 7), weight, np.int8),
            np.array(zero, np.uint8),
            groups=16,
        )
        compiled = compile_in_memory(case.network(), target_of(cpu))
        np.testing.assert_array_equal(compiled.run(case.x), case.expected())


@pytest.mark.parametrize("cpu", CPUS)
def test_several_kernels_for_a_channel(cpu: str) -> None:
    case = depthwise((1, 5, 8, 9), repeats=3)
    compiled = compile_in_memory(case.network(), target_of(cpu))
    np.testing.assert_array_equal(compiled.run(case.x), case.expected())


@pytest.mark.parametrize("cpu", CPUS)
def test_a_weight_that_leaves_a_byte(cpu: str) -> None:
    """Zero points of the weight, one for each channel: differences up to 255."""
    case = depthwise((1, 6, 8, 9))
    weight = random_bytes("uint8", 6, 1, 3, 3)
    zeros = np.array([0, 255, 128, 3, 77, 200], np.uint8)
    case = IntegerConvolution(case.x, weight, case.x_zero, zeros, pads=SAME, groups=6)
    compiled = compile_in_memory(case.network(), target_of(cpu))
    np.testing.assert_array_equal(compiled.run(case.x), case.expected())


@pytest.mark.parametrize("cpu", CPUS)
def test_a_zero_point_known_when_it_runs(cpu: str) -> None:
    case = depthwise((1, 24, 9, 10), zero=77)
    assert case.x_zero is not None
    compiled = compile_in_memory(case.network(computed_zero=True), target_of(cpu))
    np.testing.assert_array_equal(compiled.run(case.x, case.x_zero), case.expected())


def test_a_kernel_too_large_to_unroll() -> None:
    case = depthwise((1, 16, 24, 25), (19, 19), (9, 9, 9, 9))
    compiled = compile_in_memory(case.network(), target_of("host"))
    np.testing.assert_array_equal(compiled.run(case.x), case.expected())


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("cpu", CPUS)
def test_bytes_are_stored_by_the_same_kernel(cpu: str, dtype: str) -> None:
    case = depthwise((1, 40, 13, 14), zero=3, dtype=dtype)
    factor = np.linspace(1e-4, 4e-3, 40, dtype=np.float32).reshape(1, -1, 1, 1)
    for how in (
        Requantization(factor, 7, dtype),
        Requantization(factor, -3 if dtype == "int8" else 0, dtype, low=5, high=100),
    ):
        compiled = compile_in_memory(how.behind(case.network()), target_of(cpu))
        np.testing.assert_array_equal(compiled.run(case.x), how.expected(case.expected()))
        assert len(compiled.rules) == 3, compiled.operators


@pytest.mark.parametrize("cpu", ["host", "AVX2"])
@pytest.mark.parametrize("symbolic", [(0,), (0, 2, 3)])
def test_extents_known_when_it_runs(symbolic: tuple[int, ...], cpu: str) -> None:
    """Of the batch the kernel is the same; with an unknown width it is int32's."""
    case = depthwise((3, 40, 13, 14), zero=3)
    factor = np.linspace(1e-4, 4e-3, 40, dtype=np.float32).reshape(1, -1, 1, 1)
    how = Requantization(factor, 7, "uint8")
    model = how.behind(case.network())
    for value in (*model.graph.input, *model.graph.output):
        for axis in symbolic:
            value.type.tensor_type.shape.dim[axis].dim_param = "bchw"[axis]
    compiled = compile_in_memory(model, target_of(cpu))
    for batch in (1, 3):
        expected = how.expected(case.expected())[:batch]
        np.testing.assert_array_equal(compiled.run(case.x[:batch]), expected)
    assert "fallback" not in compiled.rules


def test_threads_change_nothing() -> None:
    case = depthwise((2, 96, 29, 30))
    results = [
        compile_in_memory(case.network(), target_of("host", threads)).run(case.x)
        for threads in (1, 3)
    ]
    np.testing.assert_array_equal(results[0], results[1])


def test_a_tile_has_what_its_words_give() -> None:
    def plan(height: int, stride: int, dilation: int = 1) -> tuple[int, int]:
        return row_plan(
            Window((height, 3), (stride, stride), (dilation, dilation), (0, 0, 0, 0), 0)
        )

    assert plan(3, 1) == (2, 1)
    assert plan(3, 2) == (1, 1)
    assert plan(5, 1) == (4, 2)
    assert plan(5, 2) == (2, 2)
    assert plan(1, 1) == (4, 1)
    # Rows that are apart are the word's own.
    assert plan(3, 1, dilation=2) == (1, 1)


def test_other_rules_do_not_take_its_sums() -> None:
    from tvm import te, tirx

    how = Window((3, 3), (1, 1), (1, 1), SAME, 16)
    tile = DotTile(*row_plan(how), columns=4, channels=16, lanes=16)
    shape = [tirx.IntImm("int64", size) for size in (1, 8, 8, 16)]
    data = te.placeholder(shape, "uint8", "data")
    packed = pack_dot_depthwise(np.ones((16, 3, 3, 1), np.int8), how, tile)
    weight = te.placeholder([tirx.IntImm("int64", n) for n in packed.shape], "int32", "weight")
    result = dot_depthwise_conv2d(data, weight, how, tile, VPDPBUSD, 0)
    kernel = Kernel(te.create_prim_func([data, weight, result]))
    assert DotDepthwise().check(kernel, machine("host")) is None
    plain: Any = te.compute(shape, lambda *at: data(*at) + data(*at))
    refusal = DotDepthwise().check(Kernel(te.create_prim_func([data, plain])), machine("host"))
    assert refusal is not None
    assert refusal.met == 0


def test_sums_fit_into_registers() -> None:
    for name in ("android-arm64-v8.2", "host"):
        target = machine_of(resolve_target(name))
        for size in (3, 5, 7):
            for stride in (1, 2):
                pad = size // 2
                pads = (pad, pad, pad, pad)
                how = Window((size, size), (stride, stride), (1, 1), pads, 16)
                tile = choose_dot_tile(how, 56, 64, target)
                vectors = tile.rows * tile.columns * tile.channels // tile.lanes
                assert 0 < vectors < target.vector_registers


def assembly(case: IntegerConvolution, target: str) -> str:
    how = Requantization(np.full((1, case.x.shape[1], 1, 1), 1e-3, np.float32), 3, "int8")
    compiled = compile_in_memory(how.behind(case.network()), resolve_target(target))
    return "\n".join(
        module.inspect_source("s") for module in compiled.executable.mod.imports if module
    )


def test_arm64_sums_four_taps_at_once() -> None:
    """`sdot` on rows that `st4` interleaved, then instructions that saturate as they narrow."""
    text = assembly(depthwise((1, 64, 14, 16), zero=3, dtype="int8"), "android-arm64-v8.2")
    used = set(re.findall(r"^\t([a-z0-9.]+)\t", text, re.MULTILINE))
    assert {"sdot", "st4", "scvtf", "fcvtns", "sqxtn", "sqxtn2", "sqadd"} <= used
    assert not used & {"frintn", "frinti", "fcvtzs", "fmaxnm", "fminnm", "fmadd"}
