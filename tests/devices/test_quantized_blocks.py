"""Quantized blocks of real networks on the emulated phone: what onnxruntime computes here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.compiler.integer.harness import run_onnxruntime
from tests.compiler.integer.real_shapes import BLOCKS, block_inputs, quantize

# Target, and CPU as qemu names it.
TARGETS = [
    ("android-arm64", "cortex-a53"),
    ("android-arm64-v8.2", "cortex-a76"),
    ("android-arm64-v8.6", "max,sve=off,sme=off"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("target", "cpu"), TARGETS)
def test_they_equal_onnxruntime(target: str, cpu: str, tmp_path: Path) -> None:
    with EmulatedPhone(cpu=cpu) as phone, connect(phone.tracker, phone.key) as session:
        for name, make in BLOCKS.items():
            block = make()
            model = quantize(block, tmp_path, per_channel=True, activation="uint8")
            arrays = block_inputs(block, seed=9)
            bundle = compile(model, target, tmp_path / name, name=name, threads=1)
            assert any("made int8" in note for note in bundle.quantized.model.notes)
            found = session.open_bundle(bundle.directory).run(arrays)["y"]
            if name == "transformer":
                # Its Softmax is rounded otherwise.
                (plain,) = run_onnxruntime(model, arrays, fused=False)
                assert (found != plain).mean() < 0.01
            else:
                (fused,) = run_onnxruntime(model, arrays, fused=True)
                np.testing.assert_array_equal(found, fused, err_msg=name)
