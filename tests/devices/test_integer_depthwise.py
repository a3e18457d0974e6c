"""Depthwise convolutions of bytes, and requantization, on the emulated phone: exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.schedules.integer_convolutions import IntegerConvolution
from tests.schedules.integer_products import random_bytes
from tests.schedules.requantization import Requantization

# Target, CPU as qemu names it, what multiplies bytes there.
TARGETS = [
    ("android-arm64", "cortex-a53", {"mla", "fcvtns", "sqxtn"}),
    ("android-arm64-v8.2", "cortex-a76", {"sdot", "fcvtns", "sqxtn", "sqxtun"}),
    ("android-arm64-v8.6", "max,sve=off,sme=off", {"sdot", "usdot", "fcvtns", "sqxtn"}),
]


def depthwise(
    dtype: str, zero: int, shape: tuple[int, ...], kernel: int, stride: int
) -> IntegerConvolution:
    channels = shape[1]
    return IntegerConvolution(
        random_bytes(dtype, *shape),
        random_bytes("int8", channels, 1, kernel, kernel),
        np.array(zero, dtype),
        strides=(stride, stride),
        pads=(kernel // 2,) * 4,
        groups=channels,
        bias=np.arange(channels, dtype=np.int32) * 301 - 4000,
    )


CONVOLUTIONS = {
    "signed": depthwise("int8", -7, (2, 40, 9, 14), 3, 1),
    "unsigned": depthwise("uint8", 113, (1, 16, 7, 13), 3, 2),
    "ragged": depthwise("int8", 0, (1, 13, 11, 10), 5, 1),
}
HOW = {
    "int8": [(5, None, None), (0, None, None), (-128, -128, 90)],
    "uint8": [(128, None, None), (0, None, None), (3, 3, 200)],
}


@pytest.mark.parametrize(("target", "cpu", "instructions"), TARGETS)
def test_it_is_exact(target: str, cpu: str, instructions: set[str], tmp_path: Path) -> None:
    used: set[str] = set()
    with EmulatedPhone(cpu=cpu) as phone, connect(phone.tracker, phone.key) as session:
        for number, (name, case) in enumerate(CONVOLUTIONS.items()):
            channels = case.x.shape[1]
            factor = np.linspace(1e-4, 9e-3, channels, dtype=np.float32).reshape(1, -1, 1, 1)
            zero, low, high = HOW[str(case.x.dtype)][number]
            how = Requantization(factor, zero, str(case.x.dtype), low, high)
            folder = tmp_path / name
            path = folder.with_suffix(".onnx")
            onnx.save(how.behind(case.network()), path)
            dump = tmp_path / f"{name}-dump"
            directory = compile(path, target, folder, dump_dir=dump).directory
            outputs = session.open_bundle(directory).run({"x": case.x})
            np.testing.assert_array_equal(outputs["q"], how.expected(case.expected()), err_msg=name)
            (assembly,) = dump.rglob("build.s")
            used |= {line.split()[0] for line in assembly.read_text().splitlines() if line.strip()}
    assert instructions <= used
