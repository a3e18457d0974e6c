"""A defect of LLVM 22.1 that wide indices hide: `i % 4` in a vectorised loop over i."""

from __future__ import annotations

import platform
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.targets import resolve_target

CASES = [
    ((3, 4, 3), (2, 7, 2)),
    ((3, 4, 3), (2, 50, 1)),
    ((3, 8, 3), (2, 50, 3)),
    ((2, 3, 4), (3, 17, 17)),
    ((4, 8, 3, 16), (1, 2, 2, 5)),
]


def tiled(
    x: np.ndarray, repeats: tuple[int, ...], *, wide: bool, cpu: str | None = None
) -> np.ndarray:
    import tvm
    from tvm import te, topi

    data = te.placeholder(x.shape, name="x", dtype=str(x.dtype))
    kernel: Any = te.create_prim_func([data, topi.tile(data, repeats)])
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    target = tvm.target.Target(resolve_target("host", cpu=cpu).to_tvm_dict())
    with wide_indices() if wide else nullcontext():
        built: Any = tvm.compile(module, target)
    shape = tuple(size * count for size, count in zip(x.shape, repeats, strict=True))
    result = tvm.runtime.tensor(np.zeros(shape, x.dtype))
    built["main"](tvm.runtime.tensor(x), result)
    return result.numpy()


def numbers(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 251).reshape(shape).astype(dtype)


@pytest.mark.parametrize(("shape", "repeats"), CASES)
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_tiles_are_right(dtype: str, shape: tuple[int, ...], repeats: tuple[int, ...]) -> None:
    x = numbers(shape, dtype)
    np.testing.assert_array_equal(tiled(x, repeats, wide=True), np.tile(x, repeats))


def test_llvm_still_has_the_defect() -> None:
    """Where it fails, LLVM has mended it and wide_indices can go."""
    # The same code on every machine: with its own vectors another CPU may get other loops right.
    cpu = "x86-64-v2" if platform.machine() == "x86_64" else None
    results = [(numbers(shape, "uint8"), repeats) for shape, repeats in CASES]
    wrong = [
        not np.array_equal(tiled(x, repeats, wide=False, cpu=cpu), np.tile(x, repeats))
        for x, repeats in results
    ]
    assert any(wrong)
