"""Products of halves on the emulated phone, by its vectors of halves."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.compiler.onnx_text import model_from_text, random_array

_TEXT = """
g (float[1, 16, 9, 9] x) => (float[1, 10] y) {
  a = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu(a) c = Conv(r, w2)
  p = GlobalAveragePool(c) f = Flatten(p) y = Gemm(f, w3, b3) }
"""


@pytest.mark.parametrize("target", ["android-arm64", "android-arm64-v8.2"])
def test_a_network_in_half_precision(
    emulated_phone: EmulatedPhone, tmp_path: Path, target: str
) -> None:
    weights = {
        "w1": random_array(24, 16, 3, 3, scale=0.1),
        "b1": random_array(24),
        "w2": random_array(64, 24, 1, 1, scale=0.2),
        "w3": random_array(64, 10, scale=0.2),
        "b3": random_array(10),
    }
    model = model_from_text(_TEXT, weights)
    x = random_array(1, 16, 9, 9)
    expected = run_reference(model, {"x": x})["y"]
    onnx.save(model, tmp_path / "half.onnx")
    dump = tmp_path / "dump"
    result = compile(
        *(tmp_path / "half.onnx", target, tmp_path / "half"), quantize="fp16", dump_dir=dump
    )
    (assembly,) = dump.glob("*-build/build.s")
    # Without vectors of halves the weights alone are half.
    computes = re.search(r"fmla\s+v\d+\.8h", assembly.read_text()) is not None
    assert computes == (target == "android-arm64-v8.2")
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        outputs = session.open_bundle(result.directory).run({"x": x})
    largest = np.abs(expected).max()
    np.testing.assert_allclose(outputs["y"], expected, rtol=0, atol=6e-3 * largest)
