"""Products with a constant weight become MatMulNBits: right, small, and refused with a reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.quantization.int4 import to_int4
from autoglm_tvm.compiler.quantization.int4_rounding import Groups, round_groups
from autoglm_tvm.compiler.quantization.recipe import Int4Settings
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import compile_in_memory

NETWORK = """g (float[2,3,96] x, float[5,64] v) => (float[2,3,40] y, float[5,24] z) {
    [first] y = MatMul (x, w)
    [second] z = Gemm <transB = 1> (v, u, c)
}"""


def network() -> onnx.ModelProto:
    weights = {"w": random_array(96, 40), "u": random_array(24, 64), "c": random_array(24)}
    return named(model_from_text(NETWORK, weights))


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    for number, node in enumerate(model.graph.node):
        node.name = node.name or f"node{number}"
    return model


def values(groups: Groups) -> np.ndarray:
    """The weight that the groups stand for, [N, K]."""
    numbers = np.stack([groups.packed & 15, groups.packed >> 4], axis=-1)
    numbers = numbers.reshape(*groups.packed.shape[:2], -1).astype(np.float64)
    zeros: np.ndarray = np.full(groups.scales.shape, 8)
    if groups.zero_points is not None:
        both = np.stack([groups.zero_points & 15, groups.zero_points >> 4], axis=-1)
        zeros = both.reshape(len(both), -1)[:, : zeros.shape[1]]
    return ((numbers - zeros[..., None]) * groups.scales[..., None]).reshape(len(numbers), -1)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_rounding_is_near_and_searching_brings_it_nearer(group: int, symmetric: bool) -> None:
    # An odd number of groups with 128.
    weight = random_array(50, 384, scale=0.05)
    plain = round_groups(weight, group, symmetric, search=False)
    searched = round_groups(weight, group, symmetric)
    errors = [np.square(values(g) - weight).sum() for g in (plain, searched)]
    assert errors[1] < 0.97 * errors[0]
    assert searched.snr == pytest.approx(10 * np.log10(np.square(weight).sum() / errors[1]), 1e-3)
    # Half of a step of the full range, at most, for what is not cut off.
    largest = np.abs(weight).reshape(50, -1, group).max(axis=-1)
    steps = np.repeat(largest / 7.5 if symmetric else largest * 2 / 15, group, axis=-1)
    assert (np.abs(values(plain) - weight) <= 1.01 * steps / 2 + 0.067 * steps).mean() > 0.99
    assert searched.bits <= (4.5 if symmetric else 4.75)


@pytest.mark.parametrize("symmetric", [True, False])
def test_scales_are_of_float16(symmetric: bool) -> None:
    groups = round_groups(random_array(8, 64), 32, symmetric)
    np.testing.assert_array_equal(groups.scales.astype(np.float16), groups.scales)


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_sixteen_steps_hold_is_kept(symmetric: bool) -> None:
    numbers = np.random.default_rng(0).integers(-8, 8, (6, 64))
    numbers[:, ::32], numbers[:, 1::32] = -8, 7
    groups = round_groups(numbers.astype(np.float32) * 0.25, 32, symmetric)
    np.testing.assert_array_equal(values(groups), numbers * 0.25)


@pytest.mark.parametrize("symmetric", [True, False])
def test_zeros_and_numbers_too_small_for_float16(symmetric: bool) -> None:
    weight = np.zeros((3, 64), np.float32)
    weight[1] = 1e-12
    weight[2, 5] = 1.0
    groups = round_groups(weight, 32, symmetric)
    assert np.isfinite(values(groups)).all()
    np.testing.assert_allclose(values(groups), weight, atol=1e-3)


def test_a_range_to_one_side_needs_zero_points() -> None:
    weight = np.abs(random_array(8, 64)) + 1
    errors = [
        np.square(values(round_groups(weight, 32, symmetric)) - weight).sum()
        for symmetric in (True, False)
    ]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_onnxruntime_runs_it_and_so_do_we(symmetric: bool) -> None:
    model = network()
    inputs = {"x": random_array(2, 3, 96), "v": random_array(5, 64)}
    before = run_reference(model, inputs)
    notes = to_int4(model, {"first", "second"}, Int4Settings(32, symmetric))
    onnx.checker.check_model(model)
    assert [(node.op_type, node.name) for node in model.graph.node] == [
        ("MatMulNBits", "first"),
        ("MatMulNBits", "second"),
    ]
    assert [note.partition(":")[0] for note in notes] == ["first", "second"]
    assert ("4.50" if symmetric else "4.75") in notes[0]
    after = run_reference(model, inputs)
    for name, values_before in before.items():
        assert after[name].shape == values_before.shape
        off = np.linalg.norm(after[name] - values_before) / np.linalg.norm(values_before)
        assert 0.01 < off < 0.12
    del model.graph.output[1]
    del model.graph.node[1]
    del model.graph.input[1]
    ours = compile_in_memory(model).run(inputs["x"])
    np.testing.assert_allclose(ours, after["y"], rtol=1e-5, atol=1e-5)


def test_weights_that_are_no_longer_read_go() -> None:
    model = network()
    to_int4(model, {"first"}, Int4Settings(32))
    names = {tensor.name for tensor in model.graph.initializer}
    assert names == {"w_int4", "w_scales", "u", "c"}
    assert model.graph.node[1].op_type == "Gemm"


def test_a_weight_of_two_products_is_stored_once() -> None:
    text = """g (float[1,64] x) => (float[1,64] y, float[64,64] k) {
        [one] h = MatMul (x, w) [two] y = MatMul (h, w) [keep] k = Identity (w)
    }"""
    model = named(model_from_text(text, {"w": random_array(64, 64, scale=0.1)}))
    to_int4(model, {"one", "two"}, Int4Settings(64))
    names = [tensor.name for tensor in model.graph.initializer]
    assert sorted(names) == ["w", "w_int4", "w_scales"]
    inputs = {"x": random_array(1, 64)}
    assert run_reference(model, inputs)["y"].shape == (1, 64)


def test_a_weight_that_is_quantized_again_for_another_node() -> None:
    text = """g (float[1,64] x, float[1,64] v) => (float[1,64] y, float[1,64] z, float[1,64] k) {
        [one] y = MatMul (x, w) [two] z = Gemm <transB = 1> (v, w) [three] k = MatMul (v, w)
    }"""
    model = named(model_from_text(text, {"w": random_array(64, 64, scale=0.1)}))
    inputs = {"x": random_array(1, 64), "v": random_array(1, 64, seed=1)}
    before = run_reference(model, inputs)
    for node, group in (("one", 64), ("two", 32)):
        to_int4(model, {node}, Int4Settings(group))
    onnx.checker.check_model(model)
    after = run_reference(model, inputs)
    for name in ("y", "z"):
        off = np.linalg.norm(after[name] - before[name])
        assert 0 < off < 0.15 * np.linalg.norm(before[name])
    np.testing.assert_array_equal(after["k"], before["k"])


@pytest.mark.parametrize("shape", [(1, 24), (1,), (24,)])
def test_any_bias_of_gemm(shape: tuple[int, ...]) -> None:
    text = "g (float[5,64] v) => (float[5,24] z) { [only] z = Gemm (v, u, c) }"
    weights = {"u": random_array(64, 24), "c": random_array(*shape, scale=30)}
    model = named(model_from_text(text, weights))
    inputs = {"v": random_array(5, 64)}
    before = run_reference(model, inputs)["z"]
    to_int4(model, {model.graph.node[0].name}, Int4Settings(32))
    after = run_reference(model, inputs)["z"]
    assert np.linalg.norm(after - before) < 0.1 * np.linalg.norm(before)


def test_half_weights() -> None:
    text = "g (float16[5,64] v) => (float16[5,24] z) { [only] z = MatMul (v, u) }"
    model = named(model_from_text(text, {"u": random_array(64, 24).astype(np.float16)}))
    inputs = {"v": random_array(5, 64).astype(np.float16)}
    before = run_reference(model, inputs)["z"].astype(np.float32)
    to_int4(model, {model.graph.node[0].name}, Int4Settings(32))
    after = run_reference(model, inputs)["z"].astype(np.float32)
    assert np.linalg.norm(after - before) < 0.12 * np.linalg.norm(before)


REFUSED = {
    "a group that does not divide": (
        "g (float[1,96] x) => (float[1,8] y) { y = MatMul (x, w) }",
        {"w": random_array(96, 8)},
        64,
        ["groups of 64", "K = 96", "node0", "choose 32 "],
    ),
    "no group divides": (
        "g (float[1,50] x) => (float[1,8] y) { y = MatMul (x, w) }",
        {"w": random_array(50, 8)},
        32,
        ["K = 50", "no group"],
    ),
    "a convolution": (
        "g (float[1,32,4,4] x) => (float[1,8,4,4] y) { y = Conv (x, w) }",
        {"w": random_array(8, 32, 1, 1)},
        32,
        ["node0", "Conv", "only MatMul and Gemm"],
    ),
    "a computed weight": (
        "g (float[1,32] x, float[32,8] w) => (float[1,8] y) { y = MatMul (x, w) }",
        {},
        32,
        ["not constant"],
    ),
    "a batch of weights": (
        "g (float[2,1,32] x) => (float[2,1,8] y) { y = MatMul (x, w) }",
        {"w": random_array(2, 32, 8)},
        32,
        ["3 axes"],
    ),
    "a factor": (
        "g (float[1,32] x) => (float[1,8] y) { y = Gemm <alpha = 0.5> (x, w) }",
        {"w": random_array(32, 8)},
        32,
        ["alpha"],
    ),
    "not a number": (
        "g (float[1,32] x) => (float[1,8] y) { y = MatMul (x, w) }",
        {"w": np.full((32, 8), np.nan, np.float32)},
        32,
        ["NaN", "'w'"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    text, weights, group, expected = REFUSED[name]
    model = named(model_from_text(text, weights))
    before = model.SerializeToString()
    with pytest.raises(UserInputError) as error:
        to_int4(model, {"node0"}, Int4Settings(group))
    for part in expected:
        assert part in str(error.value)
    assert error.value.hint
    assert model.SerializeToString() == before
