"""Weights of four bits on the emulated phone, by the instructions of each Android target."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from tests.schedules.int4_products import Int4Product, random_product

# Target, CPU as qemu names it, what multiplies there.
TARGETS = [
    ("android-arm64", "cortex-a53", "fmla"),
    ("android-arm64-v8.2", "cortex-a76", "sdot"),
    ("android-arm64-v8.6", "max,sve=off,sme=off", "sdot"),
]
PRODUCTS = {
    "a row": random_product((1, 256), 300, 32),
    "rows": random_product((2, 5, 160), 130, 64, zeros="packed", bias=True),
    "tails": random_product((3, 100), 37, 32, zeros="floats"),
    "one column": random_product((1, 128), 1, 128),
    "halves": random_product((3, 96), 40, 32, zeros="packed", dtype="float16"),
    "bytes": random_product((2, 70), 33, 32, bits=8, zeros="packed"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("target", "cpu", "instruction"), TARGETS)
def test_it_is_as_exact_as_floats(target: str, cpu: str, instruction: str, tmp_path: Path) -> None:
    with EmulatedPhone(cpu=cpu) as phone, connect(phone.tracker, phone.key) as session:
        for name, product in PRODUCTS.items():
            folder = tmp_path / name.replace(" ", "-")
            path = folder.with_suffix(".onnx")
            onnx.save(product.network(), path)
            dump = tmp_path / f"{folder.name}-dump"
            directory = compile(path, target, folder, dump_dir=dump).directory
            product.check(session.open_bundle(directory).run({"x": product.x})["y"])
            (assembly,) = dump.rglob("build.s")
            used = {line.split()[0] for line in assembly.read_text().splitlines() if line.strip()}
            assert (instruction if product.bits == 4 else "fmla") in used


def test_numbers_of_all_sizes_and_none(tmp_path: Path) -> None:
    """What is no number stays none where a group is split into digits."""
    product = random_product((5, 96), 40, 32)
    product.x[0] *= np.float32(1e-20)
    product.x[1] *= np.float32(1e20)
    product.x[2, 3], product.x[3, 40] = np.nan, np.inf
    onnx.save(product.network(), tmp_path / "m.onnx")
    directory = compile(tmp_path / "m.onnx", "android-arm64-v8.2", tmp_path / "b").directory
    with EmulatedPhone(cpu="cortex-a76") as phone, connect(phone.tracker, phone.key) as session:
        result = session.open_bundle(directory).run({"x": product.x})["y"]
    assert not np.isfinite(result[2:4]).any()
    known = [0, 1, 4]
    Int4Product(product.x[known], product.numbers, product.scales, 32).check(result[known])
