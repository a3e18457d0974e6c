"""Products of integers on the emulated phone: exact, by the instructions of each Android target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.schedules.integer_products import IntegerProduct, random_bytes

# Target, CPU as qemu names it, what multiplies bytes there.
TARGETS = [
    ("android-arm64", "cortex-a53", {"smull", "smlal2", "sadalp"}),
    ("android-arm64-v8.2", "cortex-a76", {"sdot"}),
    ("android-arm64-v8.6", "max,sve=off,sme=off", {"usmmla", "smmla", "sudot"}),
]
COLUMNS = np.array([5, -3] * 35 + [0], np.int8)
PRODUCTS = {
    "unsigned": IntegerProduct(
        random_bytes("uint8", 2, 13, 64), random_bytes("int8", 64, 71), np.array(113, np.uint8)
    ),
    "symmetric": IntegerProduct(
        random_bytes("uint8", 30, 48), random_bytes("int8", 48, 64).clip(-127)
    ),
    "signed": IntegerProduct(
        random_bytes("int8", 9, 35), random_bytes("int8", 35, 71), np.array(-7, np.int8), COLUMNS
    ),
    "vector": IntegerProduct(
        random_bytes("uint8", 1, 128), random_bytes("uint8", 128, 20), None, np.array(128, np.uint8)
    ),
    "largest": IntegerProduct(
        np.full((3, 256), 255, np.uint8), np.full((256, 9), -128, np.int8), np.array(0, np.uint8)
    ),
    "largest of both signs": IntegerProduct(
        np.full((3, 256), -128, np.int8), np.full((256, 9), -128, np.int8)
    ),
}


def test_rows_that_are_known_when_it_runs(emulated_phone: EmulatedPhone, tmp_path: Path) -> None:
    """Pairs of rows, where the last one may have no neighbour."""
    product = IntegerProduct(
        random_bytes("uint8", 7, 40), random_bytes("int8", 40, 50), np.array(9, np.uint8)
    )
    network = product.network()
    network.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    onnx.save(network, tmp_path / "rows.onnx")
    directory = compile(tmp_path / "rows.onnx", "android-arm64-v8.6", tmp_path / "rows").directory
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        bundle = session.open_bundle(directory)
        for rows in (1, 2, 7):
            outputs = bundle.run({"x": product.x[:rows]})
            np.testing.assert_array_equal(outputs["y"], product.expected()[:rows])


@pytest.mark.parametrize(("target", "cpu", "instructions"), TARGETS)
def test_it_is_exact(target: str, cpu: str, instructions: set[str], tmp_path: Path) -> None:
    used: set[str] = set()
    with EmulatedPhone(cpu=cpu) as phone, connect(phone.tracker, phone.key) as session:
        for name, product in PRODUCTS.items():
            folder = tmp_path / name.replace(" ", "-")
            path = folder.with_suffix(".onnx")
            onnx.save(product.network(), path)
            dump = tmp_path / f"{folder.name}-dump"
            directory = compile(path, target, folder, dump_dir=dump).directory
            outputs = session.open_bundle(directory).run({"x": product.x})
            np.testing.assert_array_equal(outputs["y"], product.expected(), err_msg=name)
            (assembly,) = dump.rglob("build.s")
            used |= {line.split()[0] for line in assembly.read_text().splitlines() if line.strip()}
    assert instructions <= used
