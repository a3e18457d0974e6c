"""Elementwise kernels: operands that are broadcast, sizes that do not divide, chains, dtypes."""

import pytest

from tests.schedules.networks import check, network

CASES = {
    "gelu": (
        "float[7,129] x",
        "a = Div (x, r) b = Erf (a) c = Add (b, one) d = Mul (x, c) y = Mul (d, half)",
        "float[7,129]",
        {"r": 2**0.5, "one": 1.0, "half": 0.5},
    ),
    "silu": ("float[3,5,67] x", "a = Sigmoid (x) y = Mul (x, a)", "float[3,5,67]", {}),
    "residual": (
        "float[2,33,9] x, float[2,33,9] z",
        "a = Add (x, z) y = Relu (a)",
        "float[2,33,9]",
        {},
    ),
    "bias of channels last": (
        "float[1,19,23,13] x",
        "a = Add (x, b) y = Clip (a, low, high)",
        "float[1,19,23,13]",
        {"b": (13,), "low": 0.0, "high": 6.0},
    ),
    "bias of channels first": (
        "float[2,13,19,23] x",
        "a = Mul (x, s) y = Add (a, b)",
        "float[2,13,19,23]",
        {"s": (13, 1, 1), "b": (1, 13, 1, 1)},
    ),
    "gate": (
        "float[2,11,13,24] x, float[2,1,1,24] z",
        "a = Sigmoid (z) y = Mul (x, a)",
        "float[2,11,13,24]",
        {},
    ),
    "outer operand": ("float[37,1] x, float[1,41] z", "y = Sub (x, z)", "float[37,41]", {}),
    "one element": ("float[1,1] x", "y = Tanh (x)", "float[1,1]", {}),
    "scalar": ("float x", "y = Exp (x)", "float", {}),
    "no element": ("float[0,5] x", "y = Exp (x)", "float[0,5]", {}),
    "cast": ("float[5,37] x", "a = Mul (x, k) y = Cast <to=6> (a)", "int32[5,37]", {"k": 3.0}),
    "mask": (
        "float[3,17,33] x, bool[1,17,33] m",
        "y = Where (m, x, e)",
        "float[3,17,33]",
        {"e": -1e4},
    ),
    "large enough for threads": (
        "float[3,211,257] x",
        "a = Tanh (x) b = Mul (a, x) y = Add (b, a)",
        "float[3,211,257]",
        {},
    ),
    "a chain that would double at each step": (
        "float[3,67] x",
        " ".join(f"s{i} = Sigmoid (h{i}) h{i + 1} = Mul (h{i}, s{i})" for i in range(12)).replace(
            "(h0", "(x"
        )
        + " y = Identity (h12)",
        "float[3,67]",
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_onnxruntime(name: str) -> None:
    declaration, body, output, weights = CASES[name]
    assert set(check(network(declaration, body, output, weights))) <= {"elementwise", "fallback"}


@pytest.mark.parametrize("dtype", ["float16", "double", "int8", "int64"])
def test_other_types(dtype: str) -> None:
    model = network(f"{dtype}[3,35] x, {dtype}[35] z", "y = Add (x, z)", f"{dtype}[3,35]")
    assert check(model, tolerance=1e-3 if dtype == "float16" else 1e-7) == ("elementwise",)
