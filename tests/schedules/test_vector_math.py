"""Elementary functions against numpy's extended precision, and what they are compiled to."""

import math
import re
from typing import Any

import numpy as np
import pytest

from tests.schedules.kernels import build_kernel, call

SPECIAL = np.array(
    [
        *(0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 3.4e38, -3.4e38),
        # The smallest numbers, normal and denormal.
        *(1.1754944e-38, -1.1754944e-38, 1e-39, -1e-39, 1e-45, -1e-45),
        # Where e^x leaves float32 at either end, and where tanh and erf become 1.
        *(
            88.72283,
            88.72284,
            89.0,
            -87.33655,
            -103.97,
            -103.98,
            -104.5,
            9.01,
            9.02,
            3.92,
            4.0,
            4.1,
        ),
    ],
    np.float32,
)


def samples() -> np.ndarray:
    """Every exponent and sign, special values, dense where the functions bend; whole vectors."""
    bits = np.arange(0, 1 << 32, 40009, dtype=np.uint64).astype(np.uint32).view(np.float32)
    bits = bits[~np.isnan(bits)]
    rng = np.random.default_rng(0)
    dense = [rng.uniform(-110, 100, 50_000), rng.uniform(-5, 5, 50_000), rng.uniform(0, 2, 20_000)]
    values = np.concatenate([bits, SPECIAL, *dense]).astype(np.float32)
    return values[: len(values) // 64 * 64]


def erf(x: np.ndarray) -> np.ndarray:
    return np.array([math.erf(value) for value in x.astype(np.float64)])


EXACT = {
    "exp": np.exp,
    "tanh": np.tanh,
    "erf": erf,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "log": np.log,
}
MOST_ULPS = {"exp": 1.0, "tanh": 3.5, "erf": 3.5, "sigmoid": 2.5, "log": 1.0}


def unary(name: str, size: int, lanes: int, dtype: str = "float32", depth: int = 1) -> Any:
    """A kernel that applies a function, in vectors."""
    from tvm import s_tir, te, tirx

    x: Any = te.placeholder((size,), dtype, "x")

    def element(i: Any) -> Any:
        value = x[i]
        for _ in range(depth):
            value = getattr(tirx, name)(value)
        return value

    y: Any = te.compute((size,), element, "y")
    schedule: Any = s_tir.Schedule(te.create_prim_func([x, y]))
    if lanes > 1:
        (loop,) = schedule.get_loops("y")
        _, lane = schedule.split(loop, [None, lanes])
        schedule.vectorize(lane)
    return schedule.mod["main"]


@pytest.mark.parametrize("lanes", [1, 4, 16])
@pytest.mark.parametrize("name", EXACT)
def test_float32_over_the_whole_range(name: str, lanes: int) -> None:
    x = samples()
    result = call(build_kernel(unary(name, len(x), lanes)), x, np.zeros_like(x))
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.longdouble))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(result[~finite], rounded[~finite])
    error = np.abs(result[finite].astype(np.longdouble) - exact[finite])
    ulps = error / np.spacing(np.abs(rounded[finite]))
    worst = ulps.argmax()
    assert ulps[worst] <= MOST_ULPS[name], (x[finite][worst], result[finite][worst])
    zero = rounded == 0
    np.testing.assert_array_equal(np.signbit(result[zero]), np.signbit(rounded[zero]))


@pytest.mark.parametrize("name", EXACT)
def test_float16_rounds_once(name: str) -> None:
    x = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    result = call(build_kernel(unary(name, len(x), 16, "float16")), x, np.zeros_like(x))
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64)).astype(np.float16)
    # A result within 3 float32 ulps of the middle of two halves may go either way.
    different = ~((result == exact) | (np.isnan(result) & np.isnan(exact)))
    assert different.mean() < 1e-3
    np.testing.assert_allclose(
        result[different].astype(np.float64), exact[different].astype(np.float64), rtol=1.5e-3
    )


@pytest.mark.parametrize("target", ["host", "android-arm64-v8.2"])
def test_no_call_leaves_the_vectors(target: str) -> None:
    """Three of a kind in one another; as TIR `Let`s that took minutes to compile."""
    for name in EXACT:
        kernel = unary(name, 64, 4, depth=3)
        assembly = build_kernel(kernel, target).inspect_source("s")
        called = set(re.findall(r"\t(?:callq?|bl)\t(\w+)", assembly))
        assert called
        assert not [name for name in called if not name.startswith(("main", "__tvm", "TVMFFI"))]


@pytest.mark.parametrize("exponent", [2.0, 3.0, 0.5, -0.5, -1.0, 1.7])
def test_powers(exponent: float) -> None:
    from tvm import te, tirx

    x = np.concatenate([samples()[::50], SPECIAL]).astype(np.float32)
    source: Any = te.placeholder(x.shape, "float32", "x")
    y: Any = te.compute(
        x.shape, lambda i: tirx.power(source[i], tirx.const(exponent, "float32")), "y"
    )
    result = call(build_kernel(te.create_prim_func([source, y])), x, np.zeros_like(x))
    with np.errstate(all="ignore"):
        # An array of exponents, since numpy takes sqrt for a single one.
        exponents = np.full(x.shape, np.float32(exponent), np.float64)
        exact = np.power(x.astype(np.float64), exponents).astype(np.float32)
    np.testing.assert_allclose(result, exact, rtol=3e-7)
    zero = exact == 0
    np.testing.assert_array_equal(np.signbit(result[zero]), np.signbit(exact[zero]))
