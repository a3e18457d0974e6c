"""Convolutions of integers on the emulated phone: exact, by the instructions of each target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.devices.test_integer_products import TARGETS
from tests.schedules.integer_convolutions import IntegerConvolution, requantized_network
from tests.schedules.integer_products import random_bytes

ONE_AROUND = (1, 1, 1, 1)
CONVOLUTIONS = {
    "unsigned": IntegerConvolution(
        random_bytes("uint8", 2, 7, 9, 11),
        random_bytes("int8", 19, 7, 3, 3),
        np.array(113, np.uint8),
        pads=ONE_AROUND,
    ),
    "whole vectors of words": IntegerConvolution(
        random_bytes("int8", 1, 16, 6, 15), random_bytes("int8", 33, 16, 3, 3), pads=ONE_AROUND
    ),
    "symmetric": IntegerConvolution(
        random_bytes("int8", 1, 16, 6, 7),
        random_bytes("int8", 24, 16, 3, 3).clip(-127),
        np.array(-7, np.int8),
        pads=ONE_AROUND,
    ),
    "stem": IntegerConvolution(
        random_bytes("int8", 1, 3, 17, 19),
        random_bytes("int8", 24, 3, 7, 7),
        np.array(5, np.int8),
        strides=(2, 2),
        pads=(3, 3, 3, 3),
    ),
    "strided 1x1, unsigned": IntegerConvolution(
        random_bytes("uint8", 1, 12, 9, 10), random_bytes("int8", 40, 12, 1, 1), strides=(2, 2)
    ),
    "dilated": IntegerConvolution(
        random_bytes("int8", 1, 16, 13, 14), random_bytes("int8", 10, 16, 3, 3), dilations=(2, 3)
    ),
    "groups": IntegerConvolution(
        random_bytes("int8", 1, 24, 8, 9),
        random_bytes("int8", 48, 8, 3, 3),
        np.array(-1, np.int8),
        groups=3,
        pads=ONE_AROUND,
    ),
    "groups of few channels": IntegerConvolution(
        random_bytes("uint8", 1, 18, 8, 9), random_bytes("int8", 30, 3, 3, 3), groups=6
    ),
    "weights that are not signed": IntegerConvolution(
        random_bytes("uint8", 1, 10, 5, 7),
        random_bytes("uint8", 12, 10, 3, 3),
        np.array(200, np.uint8),
        np.array(131, np.uint8),
        pads=ONE_AROUND,
    ),
    "largest": IntegerConvolution(
        np.full((1, 64, 3, 3), 255, np.uint8),
        np.full((9, 64, 3, 3), -128, np.int8),
        np.array(0, np.uint8),
        pads=ONE_AROUND,
    ),
    "largest of both signs": IntegerConvolution(
        np.full((1, 64, 3, 3), -128, np.int8), np.full((9, 64, 3, 3), -128, np.int8)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "cpu", "instructions"), TARGETS)
def test_it_is_exact(target: str, cpu: str, instructions: set[str], tmp_path: Path) -> None:
    used: set[str] = set()
    with EmulatedPhone(cpu=cpu) as phone, connect(phone.tracker, phone.key) as session:

        def run(name: str, network: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
            folder = tmp_path / name.replace(" ", "-").replace(",", "")
            path = folder.with_suffix(".onnx")
            onnx.save(network, path)
            dump = tmp_path / f"{folder.name}-dump"
            directory = compile(path, target, folder, dump_dir=dump).directory
            (assembly,) = dump.rglob("build.s")
            used.update(
                line.split()[0] for line in assembly.read_text().splitlines() if line.strip()
            )
            return session.open_bundle(directory).run({"x": x})["y"]

        for name, convolution in CONVOLUTIONS.items():
            y = run(name, convolution.network(), convolution.x)
            np.testing.assert_array_equal(y, convolution.expected(), err_msg=name)
        # Results of one, two and four vectors that are stored together.
        for dtype, channels, last in [("uint8", 20, 9), ("int8", 32, 24), ("int8", 24, 16)]:
            network = requantized_network(dtype, channels, last)
            x = random_bytes(dtype, 1, 3, 15, 17)
            y = run(f"requantized-{channels}", network, x)
            session_of_onnx = onnxruntime.InferenceSession(network.SerializeToString())
            np.testing.assert_array_equal(y, session_of_onnx.run(None, {"x": x})[0])
    assert instructions - {"sudot"} <= used
