"""Sums, means, extremes and pooling: over any axes, any sizes, with what is fused to them."""

from typing import Any

import numpy as np
import pytest

from tests.schedules.kernels import build_kernel, run
from tests.schedules.networks import check, network

CASES = {
    "rows": ("float[7,1003] x", "y = ReduceSum <keepdims=0> (x, a)", "float[7]", {"a": [1]}),
    "short rows": ("float[7,5] x", "y = ReduceSum (x, a)", "float[7,1]", {"a": [1]}),
    "columns": ("float[300,37] x", "y = ReduceMean <keepdims=0> (x, a)", "float[37]", {"a": [0]}),
    "middle": ("float[3,500,21] x", "y = ReduceMax (x, a)", "float[3,1,21]", {"a": [1]}),
    "middle and last": ("float[3,5,77] x", "y = ReduceMin (x, a)", "float[3,1,1]", {"a": [1, 2]}),
    "first and last": ("float[9,5,77] x", "y = ReduceSum (x, a)", "float[1,5,1]", {"a": [0, 2]}),
    "all": ("float[3,5,7] x", "y = ReduceSum (x, a)", "float[1,1,1]", {"a": [0, 1, 2]}),
    "product": ("float[5,70] x", "y = ReduceProd (x, a)", "float[5,1]", {"a": [1]}),
    "integers": ("int64[5,70] x", "y = ReduceSum (x, a)", "int64[5,1]", {"a": [1]}),
    "one element": ("float[1,1] x", "y = ReduceSum (x, a)", "float[1,1]", {"a": [1]}),
    "no row": ("float[0,5] x", "y = ReduceSum (x, a)", "float[0,1]", {"a": [1]}),
    "before and behind": (
        "float[5,203] x, float[5,203] z, float[5,1] w",
        "p = Mul (x, z) e = Exp (p) s = ReduceSum (e, a) d = Sub (s, w) y = Relu (d)",
        "float[5,1]",
        {"a": [1]},
    ),
    "channels last": (
        "float[2,7,7,93] x",
        "s = ReduceMean (x, a) g = Sigmoid (s) y = Mul (g, k)",
        "float[2,1,1,93]",
        {"a": [1, 2], "k": 3.0},
    ),
    "channels first": ("float[2,93,7,7] x", "y = GlobalAveragePool (x)", "float[2,93,1,1]", {}),
    "arg max": ("float[5,70] x", "y = ArgMax <axis=1> (x)", "int64[5,1]", {}),
    "l2": ("float[5,70] x", "y = ReduceL2 (x, a)", "float[5,1]", {"a": [1]}),
    "log sum exp": ("float[5,70] x", "y = ReduceLogSumExp (x, a)", "float[5,1]", {"a": [1]}),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str) -> None:
    declaration, body, output, weights = CASES[name]
    check(network(declaration, body, output, weights))


LONG = {
    "rows": ((3, 57_840), 1),
    "columns": ((5001, 7), 0),
    "one number": ((100_003,), 0),
    "a prime of columns": ((3, 5003, 40), 1),
}


@pytest.mark.parametrize("name", LONG)
def test_long_sums_lose_no_digits(name: str) -> None:
    """Positive numbers only, so that every addition rounds the same way a sum in order would."""
    from tvm import te, topi

    shape, axis = LONG[name]
    values = np.random.default_rng(0).random(shape, np.float32) + np.float32(0.5)
    x: Any = te.placeholder(shape, "float32", "x")
    kernel = te.create_prim_func([x, topi.sum(x, axis)])
    exact = values.astype(np.float64).sum(axis)
    zeros = np.zeros(exact.shape, np.float32)
    first, second = [run(kernel, values, zeros, threads=threads)[0] for threads in (1, 8)]
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, exact, rtol=5e-7)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5), (6, 2000)])
@pytest.mark.parametrize("axis", [0, 1])
def test_infinities(shape: tuple[int, int], axis: int) -> None:
    rank_one = f"float[{shape[1 - axis]}]"
    declaration = f"float[{shape[0]},{shape[1]}] x"
    body = "i = Mul (x, k) y = ReduceMax <keepdims=0> (i, a)"
    model = network(declaration, body, rank_one, {"k": -1e38, "a": [axis]})
    # -1e38 times a normal number is minus infinity now and then; whole rows of it too.
    check(model)
    lowest = network(
        f"float[{shape[0]},{shape[1]}] x",
        "b = Less (x, k) i = Where (b, f, f) y = ReduceMax <keepdims=0> (i, a)",
        rank_one,
        {"k": 0.0, "f": -float("inf"), "a": [axis]},
    )
    check(lowest)


POOLS = {
    "3x3 by 2": ((1, 23, 21, 37), 3, 2, 1),
    "2x2": ((2, 14, 14, 64), 2, 2, 0),
    "3x3 by 1": ((1, 12, 13, 16), 3, 1, 1),
    "5x5, three channels": ((1, 15, 15, 3), 5, 2, 2),
    "whole": ((1, 7, 7, 100), 7, 1, 0),
}


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("kind", ["max", "avg"])
@pytest.mark.parametrize("name", POOLS)
def test_pooling(name: str, kind: str, layout: str) -> None:
    from tvm import te, topi

    (n, h, w, c), k, stride, pad = POOLS[name]
    shape = (n, h, w, c) if layout == "NHWC" else (n, c, h, w)
    x: Any = te.placeholder(shape, "float32", "x")
    y = topi.nn.pool2d(
        x,
        (k, k),
        (stride, stride),
        (1, 1),
        (pad,) * 4,
        kind,
        layout=layout,
        count_include_pad=False,
    )
    relu = topi.nn.relu(y)
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    zeros = np.zeros([int(extent) for extent in y.shape], np.float32)
    kernel = te.create_prim_func([x, relu])
    result, decision = run(kernel, values, zeros)
    last = values if layout == "NHWC" else values.transpose(0, 2, 3, 1)
    expected = np.maximum(pool(last, k, stride, pad, kind), 0)
    if layout == "NCHW":
        expected = expected.transpose(0, 3, 1, 2)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(result, run(kernel, values, zeros, threads=8)[0])
    if layout == "NHWC":
        assert decision.rule == "reduction"


def pool(x: np.ndarray, k: int, stride: int, pad: int, kind: str) -> np.ndarray:
    """Pooling in NHWC over windows of numpy; what is padded does not count."""
    padded = np.pad(
        x.astype(np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)), constant_values=np.nan
    )
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))
    windows = windows[:, ::stride, ::stride]
    reduce = np.nanmax if kind == "max" else np.nanmean
    return reduce(windows, axis=(-2, -1))


def test_a_sum_of_rows_needs_no_memory_for_its_lanes() -> None:
    """The accumulators are registers: nothing but the results is stored (arm64)."""
    from tvm import te, topi

    from tests.schedules.kernels import schedule

    x: Any = te.placeholder((64, 1000), "float32", "x")
    function, _ = schedule(te.create_prim_func([x, topi.sum(x, 1)]), "android-arm64")
    assembly = build_kernel(function, "android-arm64").inspect_source("s")
    body = assembly[assembly.index("main_compute_:") :]
    loop = body[: body.index("ret")]
    assert "fadd\tv" in loop
    assert "str\tq" not in loop
    assert "sp, " not in loop


def test_upstream_forgets_a_predicate() -> None:
    """Fails when `compute_at` keeps what `rfactor` guards; then it can split reductions."""
    from tvm import s_tir, te, topi

    x: Any = te.placeholder((4, 17), "float32", "x")
    schedule: Any = s_tir.Schedule(te.create_prim_func([x, topi.sum(x, 1)]))
    total = schedule.get_sblock("x_red")
    row, k = schedule.get_loops(total)
    _, lane = schedule.split(k, [None, 8])
    lanes = schedule.rfactor(lane, 1)
    assert "T.where" in schedule.mod.script()
    schedule.compute_at(lanes, row)
    assert "T.where" not in schedule.mod.script()
