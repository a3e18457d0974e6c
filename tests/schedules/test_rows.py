"""Softmax and norms: rows of any length, axes, masks, and what is fused behind them."""

import re
from typing import Any

import numpy as np
import pytest

from tests.schedules.kernels import build_kernel, call, run, schedule
from tests.schedules.networks import check, network

NORM = {"s": (37,), "b": (1, 37)}
CASES = {
    "softmax": ("float[3,17,50] x", "y = Softmax <axis=-1> (x)", "float[3,17,50]", {}),
    "softmax of a multiple": ("float[5,128] x", "y = Softmax (x)", "float[5,128]", {}),
    "softmax of two": ("float[9,2] x", "y = Softmax (x)", "float[9,2]", {}),
    "softmax of one": ("float[9,1] x", "y = Softmax (x)", "float[9,1]", {}),
    "softmax of one row": ("float[1,1000] x", "y = Softmax (x)", "float[1,1000]", {}),
    "softmax of a long row": ("float[2,9001] x", "y = Softmax (x)", "float[2,9001]", {}),
    "softmax of no row": ("float[0,7] x", "y = Softmax (x)", "float[0,7]", {}),
    "softmax of channels": (
        "float[2,21,9,11] x",
        "y = Softmax <axis=1> (x)",
        "float[2,21,9,11]",
        {},
    ),
    "log softmax": ("float[5,33] x", "y = LogSoftmax (x)", "float[5,33]", {}),
    "softmax, scaled behind": (
        "float[5,33] x, float[5,33] z",
        "a = Softmax (x) b = Mul (a, z) y = Relu (b)",
        "float[5,33]",
        {},
    ),
    "masked": (
        "float[2,3,17,19] x, bool[2,1,1,19] m",
        "a = Where (m, x, e) y = Softmax (a)",
        "float[2,3,17,19]",
        {"e": -1e4},
    ),
    "layer norm": (
        "float[5,11,37] x",
        "y = LayerNormalization <axis=-1> (x, s, b)",
        "float[5,11,37]",
        {"s": (37,), "b": (37,)},
    ),
    "layer norm over two axes": (
        "float[5,11,37] x",
        "y = LayerNormalization <axis=1> (x, s, b)",
        "float[5,11,37]",
        {"s": (11, 37), "b": (11, 37)},
    ),
    "layer norm, then gelu": (
        "float[3,64] x",
        "n = LayerNormalization (x, s, b) a = Div (n, r) e = Erf (a) o = Add (e, one)"
        " y = Mul (n, o)",
        "float[3,64]",
        {"s": (64,), "b": (64,), "r": 2**0.5, "one": 1.0},
    ),
    "instance norm": (
        "float[2,5,9,11] x",
        "y = InstanceNormalization (x, s, b)",
        "float[2,5,9,11]",
        {"s": (5,), "b": (5,)},
    ),
    "l2 norm": ("float[7,129] x", "n = ReduceL2 (x, a) y = Div (x, n)", "float[7,129]", {"a": [1]}),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str) -> None:
    declaration, body, output, weights = CASES[name]
    check(network(declaration, body, output, weights), tolerance=1e-5)


@pytest.mark.parametrize(("groups", "spatial"), [(1, "9,11"), (3, "70,71"), (6, "7")])
def test_group_norm(groups: int, spatial: str) -> None:
    tensor = f"float[2,6,{spatial}]"
    body = f"n = GroupNormalization <num_groups={groups}> (x, s, b) g = Sigmoid (n) y = Mul (n, g)"
    model = network(f"{tensor} x", body, tensor, {"s": (6,), "b": (6,)}, opset=21)
    check(model, tolerance=1e-5)


def softmax(shape: tuple[int, ...], dtype: str = "float32") -> Any:
    from tvm import te

    from autoglm_tvm.schedules.operators.softmax import softmax

    x: Any = te.placeholder(shape, dtype, "x")
    return te.create_prim_func([x, softmax(x, -1)])


@pytest.mark.parametrize("size", [1, 3, 16, 31, 64, 197, 2049, 5000])
def test_softmax_is_exact(size: int) -> None:
    x = (8 * np.random.default_rng(0).standard_normal((3, size))).astype(np.float32)
    result, decision = run(softmax((3, size)), x, np.zeros_like(x))
    power = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    np.testing.assert_allclose(result, power / power.sum(1, keepdims=True), rtol=5e-6)
    assert decision.rule == ("rows" if size >= 16 else "fallback")


def test_softmax_of_infinities() -> None:
    x = np.zeros((4, 50), np.float32)
    x[0, 3] = np.inf
    x[1, :] = -np.inf
    x[2, 7] = np.nan
    x[3, ::2] = -np.inf
    result, _ = run(softmax((4, 50)), x, np.zeros_like(x))
    assert np.isnan(result[0, 3])
    assert np.isnan(result[1:3]).all()
    np.testing.assert_allclose(result[3], np.where(np.arange(50) % 2, 1 / 25, 0), rtol=1e-6)


def test_softmax_of_halves_is_computed_in_float32() -> None:
    x = np.random.default_rng(0).standard_normal((3, 3000)).astype(np.float16)
    result, _ = run(softmax((3, 3000), "float16"), x, np.zeros_like(x))
    power = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(
        result.astype(np.float64), power / power.sum(1, keepdims=True), rtol=6e-4, atol=6e-8
    )


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_the_same_bits_for_any_number_of_threads(threads: int) -> None:
    x = np.random.default_rng(0).standard_normal((500, 197)).astype(np.float32)
    kernel = softmax((500, 197))
    first, decision = run(kernel, x, np.zeros_like(x), threads=1)
    assert decision.rule == "rows"
    np.testing.assert_array_equal(first, run(kernel, x, np.zeros_like(x), threads=threads)[0])


def test_any_number_of_rows() -> None:
    from tvm import te, tirx

    from autoglm_tvm.schedules.operators.softmax import softmax

    shape: Any = (te.var("n", "int64"), tirx.const(50, "int64"))
    x: Any = te.placeholder(shape, "float32", "x")
    function, decision = schedule(te.create_prim_func([x, softmax(x, -1)]))
    assert decision.rule == "rows"
    library = build_kernel(function)
    for rows in (1, 7, 300):
        values = np.random.default_rng(rows).standard_normal((rows, 50)).astype(np.float32)
        power = np.exp(values.astype(np.float64) - values.max(1, keepdims=True))
        result = call(library, values, np.zeros_like(values))
        np.testing.assert_allclose(result, power / power.sum(1, keepdims=True), rtol=5e-6)


def test_one_loop_over_the_rows() -> None:
    function, decision = schedule(softmax((500, 197)), "android-arm64-v8.2")
    assert decision.rule == "rows"
    assert str(function).count("T.parallel") == 1
    assembly = build_kernel(function, "android-arm64-v8.2").inspect_source("s")
    called = set(re.findall(r"\tbl\t(\w+)", assembly))
    assert not {"expf", "TVMBackendAllocWorkspace"} & called
