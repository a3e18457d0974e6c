"""Products of halves: short runs are summed as halves, and these sums in float32."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler import optimise as optimise_stage
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.schedules import default as schedule_stage
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.schedules.tiles import half_chunk
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import compile_in_memory

PHONE = machine_of(resolve_target("android-arm64-v8.2"))


def test_chunks_divide_the_run_and_are_short() -> None:
    assert PHONE.half_arithmetic

    def chunk(reduced: int, columns: int = 64, dtype: str = "float16") -> int:
        return half_chunk(dtype, np.zeros((reduced, columns), dtype), reduced, PHONE)

    assert [chunk(size) for size in (512, 384, 96, 1284, 27)] == [128, 128, 96, 0, 0]
    assert chunk(512, 4) == 0
    assert chunk(512, dtype="float32") == 0
    weight = np.zeros((512, 64), np.float16)
    assert half_chunk("float16", weight, 512, replace(PHONE, half_arithmetic=False)) == 0
    # Kernel rows of a convolution are summed apart.
    assert half_chunk("float16", weight[:288], 96, PHONE) == 96


@pytest.mark.parametrize(
    ("magnitude", "size"), [(0.25, 128), (0.26, 64), (2, 16), (2.1, 0), (np.inf, 0), (np.nan, 0)]
)
def test_heavy_columns_have_shorter_chunks(magnitude: float, size: int) -> None:
    weight = np.zeros((256, 16), np.float16)
    weight[128::2, 5], weight[129::2, 5] = magnitude, -magnitude
    assert half_chunk("float16", weight, 256, PHONE) == size


@pytest.fixture
def half_machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A phone's machine for schedules; LLVM does the arithmetic with what is here."""
    host = machine_of(resolve_target("host"))
    machine = replace(host, lane_operand=True, vector_bytes=16, half_arithmetic=True)
    for stage in (optimise_stage, schedule_stage):
        monkeypatch.setattr(f"{stage.__name__}.machine_of", lambda _target: machine)
    return machine


def sums_in_parts(network: Any) -> bool:
    """Whether a kernel of the network sums chunks."""
    optimised = optimise_stage.optimise(import_onnx(read(network)), resolve_target("host"))
    return 'T.sblock("part")' in optimised.module.script()


@pytest.mark.parametrize(
    ("body", "x", "weight"),
    [
        ("y = MatMul(x, w)", (13, 512), (512, 40)),
        ("y = MatMul(x, w)", (1, 384), (384, 64)),
        ("y = Conv <pads = [1,1,1,1]> (x, w)", (1, 32, 9, 11), (24, 32, 3, 3)),
        ("y = Conv <strides = [2,2]> (x, w)", (1, 16, 9, 11), (8, 16, 3, 3)),
    ],
)
def test_sums_are_those_of_float64(
    half_machine: Machine, body: str, x: tuple[int, ...], weight: tuple[int, ...]
) -> None:
    data, values = (random_array(*s, scale=0.5).astype(np.float16) for s in (x, weight))
    network: Any = model_from_text(
        f"g (float16[{','.join(map(str, x))}] x) => (float16[{','.join('abcd'[: len(x)])}] y) "
        f"{{ {body} }}",
        {"w": values},
    )
    compiled = compile_in_memory(network)
    assert "contraction" in compiled.rules
    assert sums_in_parts(network)
    wide = model_from_text(
        f"g (float[{','.join(map(str, x))}] x) => (float[{','.join('abcd'[: len(x)])}] y) "
        f"{{ {body} }}",
        {"w": values.astype(np.float32)},
    )
    expected = run_reference(wide, {"x": data.astype(np.float32)})["y"]
    found = compiled.run(data).astype(np.float64)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    # Rounding the result alone costs 2e-4, and 512 products summed as halves 8e-3.
    assert error < 3e-3


def test_parts_that_would_overflow(half_machine: Machine) -> None:
    """All of these sums are 0, and half of each is 102400, beyond the largest half."""
    weight = np.full((256, 16), 8, np.float16)
    weight[128:] = -8
    network = model_from_text(
        "g (float16[4,256] x) => (float16[4,16] y) { y = MatMul(x, w) }", {"w": weight}
    )
    found = compile_in_memory(network).run(np.full((4, 256), 100, np.float16))
    np.testing.assert_array_equal(found, np.zeros((4, 16), np.float16))
