from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile
from autoglm_tvm.schedules.attention_plan import choose_plan
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import resolve_target
from tests.compiler.attention_models import LOWEST, Shape, attend, projected
from tests.schedules.harness import compile_in_memory


def divided(shape: Shape) -> tuple[str, dict[str, np.ndarray]]:
    return "s0 = MatMul (q, k) s = Div (s0, c)", {"c": np.array(shape.depth**0.5, np.float32)}


def masked(shape: Shape) -> tuple[str, dict[str, np.ndarray]]:
    text, weights = divided(shape)
    return text.replace("s = Div", "s1 = Div") + " s = Add (s1, m)", weights


def drop(shape: tuple[int, ...], value: float, seed: int = 0) -> np.ndarray:
    """An additive mask: a third of it is `value`."""
    keep = np.random.default_rng(seed).random(shape) < 2 / 3
    return np.where(keep, 0, value).astype(np.float32)


# Sizes that divide no tile and no vector, and those of one.
SHAPES = {
    "whole tiles": Shape(heads=2, rows=64, keys=64, depth=32, width=32),
    "197 tokens": Shape(heads=3, rows=197, keys=197, depth=64, width=64),
    "20 elements": Shape(batch=2, heads=3, rows=33, keys=35, depth=20, width=20),
    "values of another width": Shape(heads=2, rows=17, keys=9, depth=8, width=37),
    "one query": Shape(batch=3, heads=5, rows=1, keys=77, depth=24, width=24),
    "one query, values in vectors": Shape(heads=3, rows=1, keys=50, depth=16, width=64),
    "one key": Shape(batch=2, heads=3, rows=19, keys=1, depth=16, width=16),
    "one token": Shape(heads=3, rows=1, keys=1, depth=8, width=8),
    "one element": Shape(heads=2, rows=5, keys=6, depth=1, width=1),
    "one head": Shape(batch=3, heads=1, rows=40, keys=17, depth=24, width=24),
    "many keys": Shape(heads=2, rows=20, keys=1500, depth=24, width=24),
}


@pytest.mark.parametrize("name", SHAPES)
def test_is_exact(name: str) -> None:
    shape = SHAPES[name]
    compiled = compile_in_memory(projected(shape, *divided(shape)))
    assert compiled.rules == ("attention",)
    operands = shape.operands()
    found = compiled.run(*operands.values())
    np.testing.assert_allclose(found, attend(shape, operands), rtol=0, atol=2e-6)


MASKS = {
    "keys": (1, 1, 1, 21),
    "each query": (1, 1, 19, 21),
    "each batch": (2, 1, 1, 21),
    "each head": (1, 3, 19, 21),
    "rank 1": (21,),
}


@pytest.mark.parametrize("value", [-1e4, LOWEST], ids=["large", "lowest"])
@pytest.mark.parametrize("name", MASKS)
def test_adds_a_mask(name: str, value: float) -> None:
    check_mask(drop(MASKS[name], value))


def test_adds_a_mask_of_whole_rows() -> None:
    # No larger: the scores lose their last bits in the sum.
    check_mask(drop((19, 1), -4.0))


def check_mask(mask: np.ndarray) -> None:
    shape = Shape(batch=2, heads=3, rows=19, keys=21, depth=12, width=12)
    compiled = compile_in_memory(projected(shape, *masked(shape), mask=mask))
    assert compiled.rules == ("attention",)
    operands = shape.operands()
    found = compiled.run(*operands.values(), mask)
    np.testing.assert_allclose(found, attend(shape, operands, mask), rtol=0, atol=2e-6)


def test_a_row_of_minus_infinity_is_nan_and_no_other() -> None:
    shape = Shape(heads=2, rows=9, keys=21, depth=12, width=12)
    mask = drop((1, 1, 9, 21), -np.inf)
    mask[0, 0, 4] = -np.inf
    compiled = compile_in_memory(projected(shape, *masked(shape), mask=mask))
    operands = shape.operands()
    found = compiled.run(*operands.values(), mask)
    assert np.isnan(found[0, 4]).all()
    assert not np.isnan(np.delete(found, 4, axis=1)).any()
    expected = attend(shape, operands, mask)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6, equal_nan=True)


def test_nan_and_infinity_stay_in_their_rows_and_columns() -> None:
    shape = Shape(heads=1, rows=9, keys=21, depth=12, width=5)
    compiled = compile_in_memory(projected(shape, *divided(shape)))
    operands = shape.operands()
    operands["qx"][0, 3, 0] = np.nan
    operands["vx"][0, 20, 4] = np.inf
    found = compiled.run(*operands.values())
    expected = attend(shape, operands)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6, equal_nan=True)


@pytest.mark.parametrize("heads", [1, 3, 8])
def test_the_same_bits_for_any_number_of_threads(heads: int, tmp_path: Path) -> None:
    shape = Shape(heads=heads, rows=61, keys=67, depth=20, width=20)
    mask = drop((1, 1, 61, 67), -1e4)
    model = projected(shape, *masked(shape), mask=mask)
    inputs = {**shape.operands(), "m": mask}
    results = []
    for threads in (1, 2, 5):
        target = resolve_target("host", threads=threads)
        results.append(compile_in_memory(model, target).run(*inputs.values()))
    bundle = compile(model, "host", tmp_path / "b", threads=4).directory
    results += [open_bundle(bundle, threads=threads).run(inputs)["y"] for threads in (1, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("target", ["host", "android-arm64-v8.2"])
@pytest.mark.parametrize("name", SHAPES)
def test_the_plan_fits(name: str, target: str) -> None:
    shape, machine = SHAPES[name], machine_of(resolve_target(target))
    sizes = (shape.rows, shape.keys, shape.depth, shape.width)
    plan = choose_plan((shape.batch, shape.heads), 1, *sizes, machine)
    assert plan.block % plan.scores.rows == plan.block % plan.values.rows == 0
    assert plan.blocks * plan.block >= shape.rows > (plan.blocks - 1) * plan.block
    assert plan.summed >= shape.keys
    for tile in (plan.scores, plan.values):
        assert tile.rows * tile.vectors < machine.vector_registers
    scratch = 2 * plan.block * shape.keys * 4
    assert scratch <= machine.l2_bytes // 2 or plan.block <= 14


def test_arm64_code_calls_no_function_of_libm_and_adds_lanes(tmp_path: Path) -> None:
    shape = Shape(heads=4, rows=50, keys=50, depth=32, width=32)
    mask = drop((1, 1, 1, 50), -1e4)
    model = projected(shape, *masked(shape), mask=mask)
    compile(model, "android-arm64-v8.2", tmp_path / "b", dump_dir=tmp_path / "dump")
    assembly = next((tmp_path / "dump").glob("*build/build.s")).read_text(encoding="utf-8")
    assert "expf" not in assembly
    assert ".s[3]" in assembly  # a lane as the operand of a multiply-add


def refusal_of(function: Any) -> str:
    from autoglm_tvm.schedules.kernel import Kernel
    from autoglm_tvm.schedules.rules.attention import Attention

    refusal = Attention().check(Kernel(function), machine_of(resolve_target("host")))
    assert refusal is not None
    return refusal.reason


def test_refuses_other_kernels() -> None:
    from tvm import te

    source: Any = te.placeholder((4,), "float32", "x")
    result: Any = te.compute((4,), lambda i: source[i] + 1)
    function = te.create_prim_func([source, result])
    assert refusal_of(function) == "no attention"
