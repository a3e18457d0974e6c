"""Moves of elements: exact, whatever the sizes."""

import numpy as np
import pytest

from tests.schedules.networks import check, network

CASES = {
    "heads": ("float[1,17,3,32] x", "y = Transpose <perm=[0,2,1,3]> (x)", "float[1,3,17,32]", {}),
    "keys": ("float[2,17,33] x", "y = Transpose <perm=[0,2,1]> (x)", "float[2,33,17]", {}),
    "to channels last": (
        "float[1,64,28,28] x",
        "y = Transpose <perm=[0,2,3,1]> (x)",
        "float[1,28,28,64]",
        {},
    ),
    "from channels last": (
        "float[1,28,28,64] x",
        "y = Transpose <perm=[0,3,1,2]> (x)",
        "float[1,64,28,28]",
        {},
    ),
    "image": ("float[1,3,37,41] x", "y = Transpose <perm=[0,2,3,1]> (x)", "float[1,37,41,3]", {}),
    "seven by seven": (
        "float[1,19,7,7] x",
        "y = Transpose <perm=[0,2,3,1]> (x)",
        "float[1,7,7,19]",
        {},
    ),
    "transposed and added": (
        "float[33,47] x, float[47,33] z",
        "t = Transpose <perm=[1,0]> (x) s = Mul (t, z) y = Relu (s)",
        "float[47,33]",
        {},
    ),
    "both ways at once": (
        "float[37,37] x",
        "t = Transpose <perm=[1,0]> (x) y = Add (t, x)",
        "float[37,37]",
        {},
    ),
    "reversed axes": ("float[5,6,7,8] x", "y = Transpose (x)", "float[8,7,6,5]", {}),
    "bytes": ("int8[64,96] x", "y = Transpose <perm=[1,0]> (x)", "int8[96,64]", {}),
    "concatenated channels": (
        "float[1,5,7,21] x, float[1,5,7,11] z, float[1,5,7,16] w",
        "y = Concat <axis=3> (x, z, w)",
        "float[1,5,7,48]",
        {},
    ),
    "concatenated rows": (
        "float[1,6,9,13] x, float[1,10,9,13] z",
        "y = Concat <axis=1> (x, z)",
        "float[1,16,9,13]",
        {},
    ),
    "padded": (
        "float[1,9,11,13] x",
        "y = Pad (x, p)",
        "float[1,11,14,18]",
        {"p": [0, 1, 2, 3, 0, 1, 1, 2]},
    ),
    "reflected": (
        "float[1,3,9,21] x",
        'y = Pad <mode="reflect"> (x, p)',
        "float[1,3,11,25]",
        {"p": [0, 0, 1, 2, 0, 0, 1, 2]},
    ),
    "slice": (
        "float[3,9,40] x",
        "y = Slice (x, b, e, a)",
        "float[3,9,21]",
        {"b": [5], "e": [26], "a": [2]},
    ),
    "slice with a step": (
        "float[3,9,40] x",
        "y = Slice (x, b, e, a, s)",
        "float[3,9,12]",
        {"b": [1], "e": [37], "a": [2], "s": [3]},
    ),
    "gathered rows": ("int64[2,9] x", "y = Gather (t, x)", "float[2,9,37]", {"t": (7, 37)}),
    "gathered columns": (
        "float[5,40] x",
        "y = Gather <axis=1> (x, i)",
        "float[5,4]",
        {"i": [3, 39, 0, 8]},
    ),
    "enlarged": (
        "float[1,5,9,11] x",
        'y = Resize <mode="nearest"> (x, none, s)',
        "float[1,5,18,22]",
        {"none": (0,), "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "tiled": ("float[3,5] x", "y = Tile (x, r)", "float[6,35]", {"r": [2, 7]}),
    "nothing": ("float[0,5] x", "y = Transpose <perm=[1,0]> (x)", "float[5,0]", {}),
}


@pytest.mark.parametrize("name", CASES)
def test_moves_are_exact(name: str) -> None:
    declaration, body, output, weights = CASES[name]
    rules = check(network(declaration, body, output, weights), tolerance=0)
    assert set(rules) <= {"elementwise", "layout-move"}


@pytest.mark.parametrize("target", ["host", "android-arm64"])
def test_a_transpose_goes_through_registers(target: str) -> None:
    """No element is loaded alone, and no tile is spilled."""
    import re
    from typing import Any

    from tvm import te, topi

    from tests.schedules.kernels import build_kernel, schedule

    x: Any = te.placeholder((64, 3136), "float32", "x")
    function, decision = schedule(te.create_prim_func([x, topi.transpose(x, [1, 0])]), target)
    assert decision.description == "16x4 tiles transposed on all threads"
    text = build_kernel(function, target).inspect_source("ll")
    assert re.search(r"load <\d+ x float>", text)
    assert not re.search(r" load float,", text)
