from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.schedules import winograd_plan
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.schedules.operators.contraction import wide
from autoglm_tvm.schedules.operators.winograd import pack_winograd, winograd_conv2d
from autoglm_tvm.schedules.rules.contraction import Contraction
from autoglm_tvm.schedules.rules.winograd import Winograd
from autoglm_tvm.schedules.tiles import choose_tile
from autoglm_tvm.schedules.winograd_plan import Plan, choose_plan
from autoglm_tvm.schedules.winograd_transforms import F2, F4, Transforms
from autoglm_tvm.targets import Target, resolve_target
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.exact import EPILOGUES, convolve
from tests.schedules.harness import compile_in_memory

SAME = (1, 1, 1, 1)
Padding = tuple[int, int, int, int]


@pytest.mark.parametrize("transforms", [F2, F4, Transforms(6, (0.5, 1.0, 2.0))])
def test_transforms_are_a_convolution(transforms: Transforms) -> None:
    """In float64, for one tile and one channel."""
    size, outputs = transforms.size, transforms.outputs
    pixels, taps = random_array(size, size).astype(float), random_array(1, 3, 3, 1).astype(float)
    eye = list(np.eye(size))
    image = np.array([transforms.input_row(at, eye) for at in range(size)])
    result = np.array([transforms.output_row(at, eye) for at in range(outputs)])
    products = transforms.weight(taps)[:, :, 0, 0] * (image @ pixels @ image.T)
    expected = exact(pixels[None, :, :, None], taps, (0, 0, 0, 0))[0, :, :, 0]
    np.testing.assert_allclose(result @ products @ result.T, expected, atol=1e-12)


@pytest.mark.parametrize("transforms", [F2, F4])
def test_transforms_are_exact_in_single_precision(transforms: Transforms) -> None:
    for index in range(transforms.size):
        row = transforms.input_row(index, list(np.eye(transforms.size)))
        np.testing.assert_array_equal(row, row.astype(np.float32))
    for index in range(transforms.outputs):
        row = transforms.output_row(index, list(np.eye(transforms.size)))
        np.testing.assert_array_equal(row, row.astype(np.float32))


def exact(data: np.ndarray, weight: np.ndarray, padding: Padding) -> np.ndarray:
    """`data` [B, H, W, C] convolved with an OHWI weight in float64."""
    moved = convolve(data.transpose(0, 3, 1, 2), weight.transpose(0, 3, 1, 2), padding)
    return moved.transpose(0, 2, 3, 1)


def plan_for(
    shape: tuple[int, int, int, int],
    channels: int,
    padding: Padding,
    machine: Machine,
    transforms: Transforms = F4,
    blocks: int = 2,
    by_panels: bool = False,
) -> Plan:
    """A plan, whether it is worth it or not."""
    batch, height, width, in_channels = shape
    result = (batch, height + padding[0] + padding[2] - 2, width + padding[1] + padding[3] - 2)
    tile = choose_tile(None, channels, in_channels, machine)
    plan = Plan(transforms, result, in_channels, channels, tile, tile.rows * blocks, by_panels)
    tile = choose_tile(plan.count, channels, in_channels, machine)
    return replace(plan, tile=tile, chunk=tile.rows * blocks)


def kernel_of(shape: tuple[int, int, int, int], padding: Padding, plan: Plan) -> Any:
    """The function of image, packed weight and result, unscheduled."""
    from tvm import te

    size = plan.transforms.size
    extents = [plan.panels, size, size, plan.in_channels, plan.tile.columns]
    data = te.placeholder([wide(extent) for extent in shape], "float32", "data")
    weight = te.placeholder([wide(extent) for extent in extents], "float32", "weight")
    result = winograd_conv2d(data, weight, padding, plan, "float32")
    return te.create_prim_func([data, weight, result])


def built(function: Any, target: Target) -> Any:
    import tvm

    kernel, machine = Kernel(function), machine_of(target)
    assert Winograd().check(kernel, machine) is None
    Winograd().apply(kernel, machine)
    main = kernel.schedule.mod["main"].with_attr("global_symbol", "main")
    tvm_target = tvm.target.Target(target.to_tvm_dict())
    with tvm_target, wide_indices():
        return tvm.tirx.build(tvm.IRModule({"main": main}), tvm_target, register_pipeline())


# Shape of the image, output channels, padding, and of the plan what is not as always.
CASES: dict[str, tuple[tuple[int, int, int, int], int, Padding, dict[str, Any]]] = {
    "one pixel": ((1, 1, 1, 16), 16, SAME, {}),
    "smaller than a tile": ((1, 3, 2, 16), 16, SAME, {}),
    "one row": ((2, 1, 9, 16), 16, SAME, {}),
    "no padding": ((1, 10, 14, 16), 32, (0, 0, 0, 0), {"by_panels": True}),
    "no padding, ragged": ((1, 11, 13, 16), 16, (0, 0, 0, 0), {}),
    "padding on one side": ((1, 9, 12, 16), 16, (0, 2, 1, 0), {"by_panels": True}),
    "much padding": ((1, 4, 5, 8), 16, (5, 4, 3, 6), {}),
    "three images": ((3, 13, 7, 16), 48, SAME, {}),
    "three images by panels": ((3, 13, 7, 16), 48, SAME, {"by_panels": True}),
    "more tiles than a chunk": ((1, 41, 45, 8), 16, SAME, {"blocks": 1}),
    "one channel": ((1, 9, 9, 1), 16, SAME, {}),
    "channels 5 to 7": ((1, 9, 9, 5), 7, SAME, {}),
    "channels 24 to 40": ((1, 9, 9, 24), 40, SAME, {"by_panels": True}),
    "channels 20 to 100": ((1, 9, 9, 20), 100, SAME, {}),
    "small tiles": ((2, 9, 10, 24), 40, SAME, {"transforms": F2}),
    "small tiles by panels": ((1, 6, 9, 16), 70, SAME, {"transforms": F2, "by_panels": True}),
}


def error_of(
    data: np.ndarray, weight: np.ndarray, padding: Padding, plan: Plan, target: Target
) -> float:
    """The largest error over the largest result."""
    import tvm

    expected = exact(data, weight, padding)
    packed = pack_winograd(weight, plan.transforms, plan.tile.columns)
    arrays = [tvm.runtime.tensor(array) for array in (data, packed)]
    result = tvm.runtime.tensor(np.full(expected.shape, np.nan, np.float32))
    built(kernel_of(data.shape, padding, plan), target)["main"](*arrays, result)
    return np.abs(result.numpy() - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(name: str) -> None:
    shape, channels, padding, options = CASES[name]
    target = resolve_target("host")
    plan = plan_for(shape, channels, padding, machine_of(target), **options)
    data, weight = random_array(*shape), random_array(channels, 3, 3, shape[3], seed=1)
    assert error_of(data, weight, padding, plan, target) < 3e-6


@pytest.mark.parametrize("cpu", ["x86-64-v3", "x86-64-v2"])
def test_narrower_vectors(cpu: str) -> None:
    if resolve_target("host").arch != "x86_64":
        pytest.skip("an x86-64 CPU")
    target = resolve_target("host", cpu=cpu)
    plan = plan_for((1, 9, 11, 12), 20, SAME, machine_of(target))
    data, weight = random_array(1, 9, 11, 12), random_array(20, 3, 3, 12, seed=1)
    assert error_of(data, weight, SAME, plan, target) < 3e-6


@pytest.mark.parametrize(("transforms", "bound"), [(F2, 2e-6), (F4, 8e-6)])
def test_many_channels_lose_few_digits(transforms: Transforms, bound: float) -> None:
    shape, channels, target = (1, 14, 14, 512), 64, resolve_target("host")
    plan = plan_for(shape, channels, SAME, machine_of(target), transforms)
    data = np.maximum(random_array(*shape), 0)
    weight = random_array(channels, 3, 3, 512, seed=1, scale=(2 / 9 / 512) ** 0.5)
    assert error_of(data, weight, SAME, plan, target) < bound


def test_arm64_multiplies_with_lanes_and_keeps_sums_in_registers() -> None:
    target = resolve_target("android-arm64-v8.2")
    plan = plan_for((1, 28, 28, 64), 64, SAME, machine_of(target))
    assert plan.tile.rows_in_registers
    lines = built(kernel_of((1, 28, 28, 64), SAME, plan), target).inspect_source("s").splitlines()
    ends = [at for at, line in enumerate(lines) if line.strip().startswith("b.ne")]
    loops = [lines[max(0, end - 150) : end] for end in ends]
    sums = max(loops, key=lambda loop: sum("fmla" in line and ".s[" in line for line in loop))
    last = next(at for at, line in reversed(list(enumerate(sums))) if line.startswith(".LBB"))
    inner = [line.split("\t", 2) for line in sums[last:]]
    names = [fields[1] for fields in inner if len(fields) > 2]
    expected = plan.tile.rows * plan.tile.vectors * plan.tile.steps
    assert names.count("fmla") == expected
    assert not any("[sp" in line for line in sums[last:])


RESNET = {
    "F(4x4)": ((1, 56, 56), 64, 64, F4),
    "F(4x4) of 28": ((1, 28, 28), 128, 128, F4),
    "a larger weight than the caches": ((1, 14, 14), 256, 256, F2),
    "weights are all the work": ((1, 7, 7), 512, 512, None),
    "a stem": ((1, 112, 112), 3, 32, None),
    "one pixel": ((1, 1, 1), 64, 64, None),
}


@pytest.mark.parametrize("name", RESNET)
def test_where_it_wins(name: str) -> None:
    result, in_channels, channels, transforms = RESNET[name]
    machine = Machine("x86_64", 64, 32, False, 1, 32 << 10, 1 << 20, True)
    plan = choose_plan(result, in_channels, channels, machine)
    assert (plan and plan.transforms) == transforms


def test_threads_share_panels_where_there_are_few_tiles() -> None:
    machine = Machine("aarch64", 16, 32, True, 4, 32 << 10, 256 << 10, True)
    small = choose_plan((1, 10, 10), 64, 64, machine)
    assert small is not None
    assert small.by_panels
    assert small.panels % 4 == 0
    large = choose_plan((1, 160, 160), 64, 64, machine)
    assert large is not None
    assert not large.by_panels
    assert large.chunks > 16


def test_a_larger_weight_has_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same layer takes F(4x4) where bytes cost nothing."""
    machine = Machine("x86_64", 64, 32, False, 1, 32 << 10, 1 << 20, True)
    for constant, value in {"_BYTE": 0.0, "_FROM_MEMORY": 1e9, "_FROM_CACHE": 1e9}.items():
        monkeypatch.setattr(winograd_plan, constant, value)
    plan = choose_plan((1, 14, 14), 256, 256, machine)
    assert plan is not None
    assert plan.transforms == F4


def test_the_packed_weight_is_rounded_once() -> None:
    weight = random_array(5, 3, 3, 7)
    packed = pack_winograd(weight, F4, 4)
    assert packed.shape == (2, 6, 6, 7, 4)
    assert packed.dtype == np.float32
    matrix = F4.weight_matrix()
    precise = np.einsum("ia,oabc,jb->ijco", matrix, weight.astype(np.float64), matrix)
    unpacked = np.moveaxis(packed, 0, 3).reshape(6, 6, 7, 8)
    np.testing.assert_array_equal(unpacked[..., :5], precise.astype(np.float32))
    assert not unpacked[..., 5:].any()


def test_other_rules_leave_it_alone() -> None:
    machine = machine_of(resolve_target("host"))
    plan = plan_for((1, 8, 8, 16), 16, SAME, machine)
    kernel = Kernel(kernel_of((1, 8, 8, 16), SAME, plan))
    refusal = Contraction().check(kernel, machine)
    assert refusal is not None
    assert refusal.met == 1


def network(
    body: str, shape: tuple[Any, ...], channels: int, dtype: str = "float"
) -> onnx.ModelProto:
    """Convolutions of `x` with `w`, where `o` is an input of the result's shape and `b` a bias."""
    batch, in_channels, height, width = shape
    arrays = {
        "w": random_array(channels, in_channels, 3, 3, seed=1, scale=0.1),
        "b": random_array(1, channels, 1, 1, seed=2),
    }
    weights = {name: array for name, array in arrays.items() if f" {name})" in body}
    if dtype == "float16":
        weights = {name: array.astype(np.float16) for name, array in weights.items()}
    inputs = f"{dtype}[{batch},{in_channels},{height},{width}] x"
    if " o)" in body:
        inputs += f", {dtype}[{batch},{channels},{height},{width}] o"
    return model_from_text(f"g ({inputs}) => ({dtype}[k,l,m,n] y) {{ {body} }}", weights)


@pytest.mark.parametrize("name", EPILOGUES)
def test_epilogues_are_computed_on_the_tile(name: str) -> None:
    text, function = EPILOGUES[name]
    shape, channels = (2, 24, 22, 21), 40
    model = network(f"r = Conv <pads=[1,1,1,1]> (x, w) {text}", shape, channels)
    compiled = compile_in_memory(model)
    assert compiled.rules.count("winograd") == 1
    assert "contraction" not in compiled.rules
    (fused,) = (
        operators
        for rule, operators in zip(compiled.rules, compiled.operators, strict=True)
        if rule == "winograd"
    )
    assert len(fused) > (name != "none"), fused
    data, other = random_array(*shape, seed=3), random_array(2, channels, 22, 21, seed=4)
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    expected = function(convolve(data, weights["w"], SAME), other, weights.get("b"))
    tolerance = 2e-3 if name == "cast" else 1e-5
    inputs = (data, other) if len(model.graph.input) == 2 else (data,)
    np.testing.assert_allclose(compiled.run(*inputs), expected, rtol=tolerance, atol=tolerance)


def test_the_same_bits_for_any_number_of_threads(tmp_path: Path) -> None:
    chain = (
        "a = Conv <pads=[1,1,1,1]> (x, w) c = Relu (a) d = Conv <pads=[1,1,1,1]> (c, w) "
        "y = Add (d, c)"
    )
    model = network(chain, (1, 64, 27, 30), 64)
    result = compile(model, "host", tmp_path / "b", threads=3)
    assert [entry.rule for entry in result.bundle.manifest.kernels].count("winograd") == 2
    assert verify(result.directory, model, tolerance=1e-5).ok
    inputs = {"x": random_array(1, 64, 27, 30)}
    first, *others = [
        open_bundle(result.directory, threads=threads).run(inputs)["y"] for threads in (1, 2, 3)
    ]
    for other in others:
        np.testing.assert_array_equal(first, other)


CONV = "y = Conv <pads=[1,1,1,1]> (x, w)"
DIRECT: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "stride": ("y = Conv <pads=[1,1,1,1], strides=[2,1]> (x, w)", (1, 24, 22, 21), "float"),
    "dilation": ("y = Conv <pads=[2,2,2,2], dilations=[2,2]> (x, w)", (1, 24, 22, 21), "float"),
    "symbolic batch": (CONV, ("n", 24, 22, 21), "float"),
    "symbolic height": (CONV, (1, 24, "n", 21), "float"),
    "half precision": (CONV, (1, 24, 22, 21), "float16"),
}


@pytest.mark.parametrize("name", DIRECT)
def test_other_convolutions_are_direct(name: str) -> None:
    body, shape, dtype = DIRECT[name]
    rules = compile_in_memory(network(body, shape, 40, dtype)).rules
    assert rules
    assert "winograd" not in rules


def test_no_image() -> None:
    compiled = compile_in_memory(network(CONV, (0, 24, 22, 21), 40))
    assert compiled.run(np.zeros((0, 24, 22, 21), np.float32)).shape == (0, 40, 22, 21)
