"""Every node test of quantization in the onnx package passes: all types, blocks and attributes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from benchmarks.node_cases import load_tests, make_case
from benchmarks.node_roads import run_case

OPERATORS = (
    "convinteger",
    "dequantizelinear",
    "dynamicquantizelinear",
    "matmulinteger",
    "qlinearconv",
    "qlinearmatmul",
    "quantizelinear",
)
TESTS = {
    test.name: test
    for test in load_tests()
    if test.name.startswith(tuple(f"test_{operator}" for operator in OPERATORS))
}
#: On the emulated phone: a type of each kind, blocks, and the operators on integers.
ON_ARM = (
    "test_convinteger_with_padding",
    "test_dequantizelinear_blocked",
    "test_dequantizelinear_e5m2",
    "test_dequantizelinear_int4",
    "test_matmulinteger",
    "test_qlinearconv",
    "test_qlinearmatmul_3D_uint8_float32",
    "test_quantizelinear_axis",
    "test_quantizelinear_blocked_asymmetric",
    "test_quantizelinear_e4m3fn",
    "test_quantizelinear_float4e2m1",
    "test_quantizelinear_uint2",
)


def test_there_are_as_many_as_there_were():
    """onnx 1.23.2 has 42; a newer one may have more, which are then tested too."""
    assert len(TESTS) >= 42
    assert set(ON_ARM) <= set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_on_this_machine(name: str) -> None:
    outcome = run_case(make_case(TESTS[name]), importer_alone=False)
    assert outcome.kind == "right", f"{outcome.kind}: {outcome.detail}"


@pytest.mark.slow
def test_on_arm(emulated_phone: EmulatedPhone, tmp_path: Path) -> None:
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        for name in ON_ARM:
            case = make_case(TESTS[name])
            directory = compile(case.model, "android-arm64-v8.2", tmp_path / name).directory
            outputs = session.open_bundle(directory).run(case.feeds)
            for output, expected in case.expected.items():
                found = outputs[output]
                assert found.dtype == expected.dtype, name
                np.testing.assert_array_equal(
                    found.astype(np.float64), expected.astype(np.float64), err_msg=name
                )
