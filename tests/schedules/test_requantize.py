"""Rounding to integers and narrowing to bytes: exact, by few instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
from autoglm_tvm.targets import resolve_target

# Halves between all small whole numbers, numbers beside them, and what saturates.
VALUES = np.concatenate(
    [
        np.arange(-600, 600, dtype=np.float32) / 2,
        np.nextafter(np.arange(-300, 300, dtype=np.float32) + np.float32(0.5), np.float32(0)),
        np.array([1e9, -1e9, 3e38, -3e38, np.inf, -np.inf, -0.0, 8388609.0], np.float32),
    ]
)


def built(
    body: Callable[[Any], Any], lanes: int, target: str = "host", cpu: str | None = None
) -> Any:
    """A kernel of one input that computes `body` in vectors of `lanes`."""
    import tvm
    from tvm import s_tir, te

    size = -(-len(VALUES) // 64) * 64
    data: Any = te.placeholder((size,), "float32", "data")
    result: Any = te.compute((size,), lambda i: body(data[i]), name="result")
    schedule = s_tir.Schedule(te.create_prim_func([data, result]))
    (loop,) = schedule.get_loops(schedule.get_sblock("result"))
    if lanes > 1:
        _, lane = schedule.split(loop, [None, lanes])
        schedule.vectorize(lane)
    tvm_target = tvm.target.Target(resolve_target(target, cpu=cpu).to_tvm_dict())
    module = tvm.IRModule({"main": schedule.mod["main"].with_attr("global_symbol", "main")})
    with tvm_target:
        return tvm.tirx.build(module, tvm_target, register_pipeline())


def run(library: Any, dtype: str) -> np.ndarray:
    import tvm

    size = -(-len(VALUES) // 64) * 64
    values = np.resize(VALUES, size)
    result = tvm.runtime.tensor(np.zeros(size, dtype))
    library["main"](tvm.runtime.tensor(values), result)
    return result.numpy()[: len(VALUES)]


def byte(value: Any, dtype: str, zero: int, low: int, high: int) -> Any:
    """The chain that ends every requantization."""
    from tvm import te, tirx

    clipped = te.min(te.max(value, float(low - zero)), float(high - zero))
    whole = tirx.nearbyint(clipped).astype("int32")
    return (whole + zero if zero else whole).astype(dtype)


CHAINS = [
    ("uint8", 0, 0, 255),
    ("uint8", 128, 0, 255),
    ("uint8", 255, 0, 255),
    ("uint8", 3, 3, 200),
    ("int8", 0, -128, 127),
    ("int8", -128, -128, 127),
    ("int8", 5, -7, 100),
]


@pytest.mark.parametrize("cpu", [None, "haswell", "x86-64-v2"])
@pytest.mark.parametrize("lanes", [1, 4, 8, 16])
@pytest.mark.parametrize("chain", CHAINS)
def test_bytes_round_half_to_even_and_saturate(
    chain: tuple[str, int, int, int], lanes: int, cpu: str | None
) -> None:
    dtype, zero, low, high = chain
    library = built(lambda x: byte(x, *chain), lanes, cpu=cpu)
    expected = np.clip(np.rint(VALUES.astype(np.float64)) + zero, low, high).astype(dtype)
    np.testing.assert_array_equal(run(library, dtype), expected)


@pytest.mark.parametrize("lanes", [1, 4, 16, 64])
def test_whole_numbers_round_half_to_even(lanes: int) -> None:
    from tvm import te, tirx

    library = built(lambda x: tirx.nearbyint(te.min(te.max(x, -1e6), 1e6)).astype("int32"), lanes)
    expected = np.rint(np.clip(VALUES, -1e6, 1e6)).astype(np.int32)
    np.testing.assert_array_equal(run(library, "int32"), expected)


def instructions(chain: tuple[str, int, int, int], lanes: int, target: str) -> set[str]:
    text = built(lambda x: byte(x, *chain), lanes, target).inspect_source("s")
    return {line.split()[0] for line in text.splitlines() if line.startswith("\t")}


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_arm64_saturates_as_it_narrows(chain: tuple[str, int, int, int], lanes: int) -> None:
    used = instructions(chain, lanes, "android-arm64-v8.2")
    narrows = "sqxtn" if chain[0] == "int8" else "sqxtun"
    assert {"fcvtns", "sqxtn", narrows} <= used
    assert not used & {"frinti", "frintn", "frintx", "fcvtzs", "fmaxnm", "fminnm", "tbl"}


def test_x86_rounds_as_it_converts() -> None:
    text = built(lambda x: byte(x, *CHAINS[0]), 8, cpu="haswell").inspect_source("s")
    assert "vcvtps2dq" in text
    assert "vround" not in text
    assert "vcvttps2dq" not in text


def test_upstream_takes_loops_that_round_apart() -> None:
    """Why `pipeline.py` says that `nearbyint` is vectorizable; fails when TVM says so itself."""
    import subprocess
    import sys

    code = "from tvm import ir;print(ir.Op.get('tirx.nearbyint').get_attr('TVectorizable'))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "None"


def test_upstream_rounds_half_to_even() -> None:
    """Of `round`, which ONNX's Round becomes, TVM makes `nearbyint`."""
    from tvm import te

    library = built(lambda x: te.round(te.min(te.max(x, -1e6), 1e6)), 1)
    np.testing.assert_array_equal(run(library, "float32"), np.rint(np.clip(VALUES, -1e6, 1e6)))
