from collections.abc import Callable
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.depthwise import depthwise_conv2d, pack_depthwise
from autoglm_tvm.schedules.rules.depthwise import Depthwise
from autoglm_tvm.targets import Target, resolve_target
from tests.compiler.onnx_text import model_from_text, random_array


def window(
    kernel: tuple[int, int],
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    stride: int = 1,
    dilation: int = 1,
) -> Window:
    return Window(kernel, (stride, stride), (dilation, dilation), padding, groups=0)


def extents(*sizes: Any) -> list[Any]:
    """Sizes as Relax gives them; a network's indices have 64 bits."""
    from tvm import tirx

    return [tirx.IntImm("int64", size) if isinstance(size, int) else size for size in sizes]


def placeholders(
    shape: tuple[Any, ...], outputs: int, how: Window, dtype: str
) -> tuple[Any, Any, Any]:
    """Image [B, H, W, C], weight, and the convolution with `outputs` channels."""
    from tvm import te

    data = te.placeholder(extents(*shape), dtype, "data")
    weight = te.placeholder(extents(*how.kernel, outputs), "float32", "weight")
    return data, weight, depthwise_conv2d(data, weight, how, dtype)


def primitive(shape: tuple[Any, ...], outputs: int, how: Window, dtype: str = "float32") -> Any:
    """The kernel without an epilogue, unscheduled."""
    from tvm import te

    return te.create_prim_func([*placeholders(shape, outputs, how, dtype)])


def scheduled(function: Any, target: Target) -> tuple[Any, str]:
    kernel, machine = Kernel(function), machine_of(target)
    assert Depthwise().check(kernel, machine) is None
    description = Depthwise().apply(kernel, machine)
    return kernel.schedule.mod["main"], description


def built(function: Any, target: Target) -> Any:
    import tvm

    tvm_target = tvm.target.Target(target.to_tvm_dict())
    main = scheduled(function, target)[0].with_attr("global_symbol", "main")
    with tvm_target, wide_indices():
        return tvm.tirx.build(tvm.IRModule({"main": main}), tvm_target, register_pipeline())


def run(data: np.ndarray, weight: np.ndarray, how: Window, target: Target) -> np.ndarray:
    """The result of the kernel for an image [B, H, W, C] and an OHWI weight."""
    import tvm

    function = primitive(data.shape, weight.shape[0], how, str(data.dtype))
    packed = pack_depthwise(weight)
    result = tvm.runtime.tensor(np.full(exact(data, packed, how).shape, np.nan, data.dtype))
    built(function, target)["main"](tvm.runtime.tensor(data), tvm.runtime.tensor(packed), result)
    return result.numpy()


def exact(data: np.ndarray, packed: np.ndarray, how: Window) -> np.ndarray:
    """The same in float64, one tap after the other, those outside of the image left out."""
    kernel_height, kernel_width, outputs = packed.shape
    batch, height, width, channels = data.shape
    top, left, _, _ = how.padding
    rows, columns = how.output(height, width)
    image = np.repeat(data.astype(np.float64), outputs // channels, axis=3)
    result = np.zeros((batch, rows, columns, outputs))
    for i in range(kernel_height):
        for j in range(kernel_width):
            row = np.arange(rows) * how.strides[0] + i * how.dilation[0] - top
            column = np.arange(columns) * how.strides[1] + j * how.dilation[1] - left
            at_rows = np.flatnonzero((row >= 0) & (row < height))
            at_columns = np.flatnonzero((column >= 0) & (column < width))
            taps = image[:, row[at_rows]][:, :, column[at_columns]] * packed[i, j]
            result[:, at_rows[:, None], at_columns] += taps
    return result


SAME = (1, 1, 1, 1)
CASES: dict[str, tuple[tuple[int, int, int, int], int, Window]] = {
    "one pixel": ((1, 1, 1, 16), 1, window((3, 3), SAME)),
    "one column": ((3, 5, 1, 32), 1, window((3, 3), SAME)),
    "width 7": ((1, 7, 7, 96), 1, window((3, 3), SAME)),
    "width 13": ((3, 9, 13, 64), 1, window((3, 3), SAME)),
    "width 113, rows of a prime": ((1, 17, 113, 16), 1, window((3, 3), SAME)),
    "no padding": ((1, 9, 50, 20), 1, window((3, 3))),
    "left only": ((1, 9, 50, 24), 1, window((3, 3), (0, 2, 0, 0))),
    "right and bottom": ((1, 9, 50, 24), 1, window((3, 3), (0, 0, 1, 1), stride=2)),
    "stride 2": ((2, 15, 40, 24), 1, window((5, 5), (2, 2, 2, 2), stride=2)),
    "stride 3 skips pixels": ((1, 13, 31, 8), 1, window((2, 2), stride=3)),
    "dilation 2": ((1, 12, 37, 20), 1, window((3, 3), (2, 2, 2, 2), dilation=2)),
    "7 x 7": ((1, 14, 33, 16), 1, window((7, 7), (3, 3, 3, 3))),
    "1 x 9": ((1, 4, 29, 16), 1, window((1, 9), (0, 4, 0, 4))),
    "a kernel as large as the image": ((2, 7, 7, 64), 1, window((7, 7))),
    "a kernel wider than a tile": ((1, 6, 25, 8), 1, window((3, 19), (1, 9, 1, 9))),
    "more padding than kernel": ((1, 3, 4, 4), 1, window((3, 3), (4, 5, 4, 5))),
    "channel 1": ((1, 6, 29, 1), 1, window((3, 3), SAME)),
    "channels 3": ((1, 6, 29, 3), 1, window((3, 3), SAME)),
    "channels 58": ((1, 11, 14, 58), 1, window((3, 3), SAME)),
    "two kernels for a channel": ((1, 9, 14, 17), 2, window((3, 3), SAME)),
    "one channel, many kernels": ((1, 9, 14, 1), 32, window((3, 3), SAME, stride=2)),
}


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name: str) -> None:
    shape, multiplier, how = CASES[name]
    data = random_array(*shape)
    weight = random_array(shape[3] * multiplier, *how.kernel, 1)
    result = run(data, weight, how, resolve_target("host", threads=2))
    expected = exact(data, pack_depthwise(weight), how)
    # The bound of a sum in order: one rounding error of the sum of magnitudes for each tap.
    bound = exact(np.abs(data), np.abs(pack_depthwise(weight)), how) * how.kernel[0] * how.kernel[1]
    assert (np.abs(result - expected) <= bound * 2.0**-24 + 1e-30).all()


def test_halves_are_summed_in_single_precision() -> None:
    """1024 and 25 times 0.25: in float16 every addition of 0.25 would be lost."""
    how = window((5, 5))
    data = np.full((1, 5, 5, 16), 0.25, np.float16)
    data[:, 0, 0] = 1024
    result = run(data, np.ones((16, 5, 5, 1), np.float16), how, resolve_target("host"))
    np.testing.assert_array_equal(result, np.float16(1024 + 24 * 0.25))


def test_a_border_is_not_multiplied() -> None:
    """Zeros around the image times an infinite weight would be NaN."""
    how = window((3, 3), SAME)
    weight = np.ones((16, 3, 3, 1), np.float32)
    weight[:, 0, 1] = np.inf
    result = run(np.ones((1, 4, 20, 16), np.float32), weight, how, resolve_target("host"))
    np.testing.assert_array_equal(result[0, 0, :, 0], [4, *[6] * 18, 4])
    assert np.isposinf(result[0, 1:]).all()


@pytest.mark.parametrize("symbolic", ["b", "h", "w", "bhw"])
def test_symbolic_shapes(symbolic: str) -> None:
    import tvm
    from tvm import tirx

    sizes = {"b": 2, "h": 9, "w": 37}
    shape = [tirx.Var(n, "int64") if n in symbolic else size for n, size in sizes.items()]
    how = window((3, 3), SAME)
    data, weight = random_array(*sizes.values(), 16), random_array(16, 3, 3, 1)
    packed = pack_depthwise(weight)
    library = built(primitive((*shape, 16), 16, how), resolve_target("host", threads=2))
    result = tvm.runtime.tensor(np.full(data.shape, np.nan, np.float32))
    library["main"](tvm.runtime.tensor(data), tvm.runtime.tensor(packed), result)
    np.testing.assert_allclose(result.numpy(), exact(data, packed, how), rtol=1e-4, atol=1e-5)


def test_the_image_is_not_copied() -> None:
    function = primitive((1, 56, 56, 32), 32, window((3, 3), SAME))
    main, _ = scheduled(function, resolve_target("host"))
    assert {buffer.scope() for buffer in main.body.block.alloc_buffers} == {"local"}


def test_what_sums_something_else_is_refused() -> None:
    from tvm import te

    data: Any = te.placeholder((8, 8), "float32", "data")
    transposed: Any = te.compute((8, 8), lambda i, j: data[j, i])
    kernel = Kernel(te.create_prim_func([data, transposed]))
    refusal = Depthwise().check(kernel, machine_of(resolve_target("host")))
    assert refusal is not None
    assert refusal.met == 0


def assembly(shape: tuple[int, int, int, int], how: Window, target: Target) -> list[str]:
    library = built(primitive(shape, shape[3], how), target)
    return library.inspect_source("s").splitlines()


def innermost_loops(lines: list[str], instruction: str) -> list[list[str]]:
    """The loops that contain `instruction` and no other loop."""
    labels: dict[str, int] = {}
    spans: list[range] = []
    for number, line in enumerate(lines):
        if line.startswith(".LBB"):
            labels[line.partition(":")[0]] = number
        # A branch to a label that stands before it.
        elif line.startswith("\tb.") and line.split()[-1] in labels:
            spans.append(range(labels[line.split()[-1]], number + 1))
    inner = [a for a in spans if not any(b.start in a and b.stop < a.stop for b in spans)]
    loops = [[lines[n] for n in span if lines[n].startswith("\t")] for span in inner]
    return [loop for loop in loops if any(instruction in line for line in loop)]


@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((1, 56, 56, 144), window((3, 3), SAME)),
        ((1, 14, 14, 672), window((5, 5), (2, 2, 2, 2))),
        ((1, 7, 7, 960), window((3, 3), SAME)),
    ],
)
def test_arm64_keeps_the_sums_in_registers(shape: Any, how: Window) -> None:
    """No spill, and few instructions beside the multiply-adds."""
    loops = innermost_loops(assembly(shape, how, resolve_target("android-arm64-v8.2")), "fmla")
    assert loops
    for loop in loops:
        multiply_adds = sum("fmla" in line for line in loop)
        assert not any("[sp" in line for line in loop)
        assert len(loop) <= 1.75 * multiply_adds


def test_channels_that_do_not_divide_are_vectors() -> None:
    target = resolve_target("android-arm64-v8.2")
    lines = assembly((1, 14, 14, 58), window((3, 3), SAME), target)
    assert any("fmla\tv" in line and ".4s" in line for line in lines)
    assert not any("fmadd" in line for line in lines)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


# What fusion puts behind the sums: as tensor expressions of an element, and as numpy. `bias` is
# [C], `other` has the shape of the result.
EPILOGUES: dict[str, tuple[Callable[..., Any], Callable[..., np.ndarray]]] = {
    "bias": (lambda te, x, bias, other: x + bias, lambda x, bias, other: x + bias),
    "bias and ReLU": (
        lambda te, x, bias, other: te.max(x + bias, 0.0),
        lambda x, bias, other: np.maximum(x + bias, 0),
    ),
    "clip": (
        lambda te, x, bias, other: te.min(te.max(x, 0.0), 6.0),
        lambda x, bias, other: np.clip(x, 0, 6),
    ),
    "residual": (lambda te, x, bias, other: other + x, lambda x, bias, other: other + x),
    "residual and ReLU": (
        lambda te, x, bias, other: te.max(x + bias + other, 0.0),
        lambda x, bias, other: np.maximum(x + bias + other, 0),
    ),
    "SiLU": (
        lambda te, x, bias, other: (x + bias) * te.sigmoid(x + bias),
        lambda x, bias, other: (x + bias) * _sigmoid(x + bias),
    ),
    "hard swish": (
        lambda te, x, bias, other: x * te.min(te.max(x + 3.0, 0.0), 6.0) * (1 / 6),
        lambda x, bias, other: x * np.clip(x + 3, 0, 6) / 6,
    ),
    "GELU": (
        lambda te, x, bias, other: 0.5 * x * (1.0 + te.erf(x * 2**-0.5)),
        lambda x, bias, other: 0.5 * x * (1 + np.vectorize(erf)(x * 2**-0.5)),
    ),
    "cast": (
        lambda te, x, bias, other: (x + bias).astype("float16"),
        lambda x, bias, other: (x + bias).astype(np.float16),
    ),
}


@pytest.mark.parametrize("shape", [(2, 9, 14, 32), (1, 7, 41, 20)])
@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues_are_computed_on_the_tile(name: str, shape: tuple[int, ...]) -> None:
    import tvm
    from tvm import te

    expression, reference = EPILOGUES[name]
    how = window((3, 3), SAME)
    data, weight, sums = placeholders(shape, shape[3], how, "float32")
    bias: Any = te.placeholder(extents(shape[3]), "float32", "bias")
    other: Any = te.placeholder(extents(*shape), "float32", "other")
    result: Any = te.compute(
        extents(*shape), lambda *at: expression(te, sums(*at), bias(at[-1]), other(*at)), "last"
    )
    function: Any = te.create_prim_func([data, weight, bias, other, result])
    target = resolve_target("host", threads=2)

    main, _ = scheduled(function, target)
    assert {buffer.scope() for buffer in main.body.block.alloc_buffers} == {"local"}

    arrays = [random_array(*(int(n) for n in t.shape), seed=1) for t in (data, weight, bias, other)]
    packed = arrays[1]
    expected = reference(exact(arrays[0], packed, how), arrays[2], arrays[3])
    stored = tvm.runtime.tensor(np.full(shape, np.nan, str(result.dtype)))
    built(function, target)["main"](*map(tvm.runtime.tensor, arrays), stored)
    tolerance = 1e-3 if name == "cast" else 1e-5
    np.testing.assert_allclose(stored.numpy(), expected, rtol=tolerance, atol=1e-5)


SIDE_BY_SIDE = """
    a = Conv <group=40, pads=[1,1,1,1]> (x, w3, b)
    p = Relu (a)
    c = Conv <group=40, pads=[2,2,2,2], strides=[2,2]> (x, w5, b)
    q = Clip (c, zero, six)
    d = Conv <group=40, pads=[0,1,2,1], dilations=[2,2]> (x, w3)
    s = Sigmoid (d)
    r = Mul (d, s)
    e = Conv <group=40, pads=[1,1,1,1]> (x, w3, b)
    t = Add (x, e)
"""


def test_a_network(tmp_path: Path) -> None:
    weights = {
        "w3": random_array(40, 1, 3, 3),
        "w5": random_array(40, 1, 5, 5),
        "b": random_array(40),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
    }
    outputs = ", ".join(f"float[a{name},b,c{name},d{name}] {name}" for name in "pqrt")
    text = f"g (float[2,40,37,41] x) => ({outputs}) {{ {SIDE_BY_SIDE} }}"
    model = model_from_text(text, weights)
    result = compile(model, "host", tmp_path / "b", layout="NHWC", threads=3)
    schedules = [entry.schedule for entry in result.bundle.manifest.kernels]
    assert sum(text.startswith("depthwise:") for text in schedules) == 4, schedules
    assert verify(result.directory, model, tolerance=1e-5).ok
    inputs = {"x": random_array(2, 40, 37, 41)}
    first, *others = [
        open_bundle(result.directory, threads=threads).run(inputs) for threads in (1, 2, 3)
    ]
    for other in others:
        for name in "pqrt":
            np.testing.assert_array_equal(first[name], other[name])


def test_upstream_partitions_loops_with_mixed_index_types() -> None:
    """Why `depthwise_borders.py` cuts the tiles itself; fails when TVM's pass can do it."""
    import tvm
    from tvm import s_tir, te

    source: Any = te.placeholder(extents(13), "float32", "source")
    copy: Any = te.compute(extents(13), lambda i: source[i], "copy")
    function: Any = te.create_prim_func([source, copy])
    schedule = s_tir.Schedule(function)
    (loop,) = schedule.get_loops("copy")
    outer, _ = schedule.split(loop, [None, 5])
    schedule.annotate(outer, "pragma_loop_partition_hint", 1)
    lower = [
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.LowerOpaqueBlock(),
        s_tir.transform.LoopPartition(),
        s_tir.transform.HoistIfThenElse(),
    ]
    with pytest.raises(TypeError, match="mismatched types"):
        tvm.ir.transform.Sequential(lower)(schedule.mod)
