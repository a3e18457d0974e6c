"""The same input gives the same bytes, whoever compiles it, wherever, and whenever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.compiler import compile
from tests.tiny_networks import write_convolutions

COMPILE = (sys.executable, "-m", "autoglm_tvm.compiler.cli.main", "compile")


def _compile(model: Path, target: str, folder: Path, seed: int, *options: str) -> dict[str, bytes]:
    """Compile in a process with surroundings of its own; the bundle's files."""
    temporary, working = folder / "tmp", folder / f"working-{seed}"
    temporary.mkdir(parents=True)
    working.mkdir()
    output = folder / f"output-{seed}" / "bundle"
    surroundings = {"PYTHONHASHSEED": str(seed), "TMPDIR": str(temporary), "COLUMNS": str(seed)}
    done = subprocess.run(
        [*COMPILE, os.path.relpath(model, working), "-t", target, "-o", str(output), *options],
        cwd=working,
        env=os.environ | surroundings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    read_bundle(output)
    return {path.name: path.read_bytes() for path in sorted(output.iterdir())}


def _compile_twice(model: Path, target: str, tmp_path: Path, *options: str) -> None:
    first = _compile(model, target, tmp_path / "first", 1, *options)
    second = _compile(model, target, tmp_path / "a longer name", 4242, *options)
    assert len(first) == 4
    assert sorted(first) == sorted(second)
    for name, content in first.items():
        assert content == second[name], f"{name} differs"
    # No path of this machine is in what will be shipped.
    for name, content in first.items():
        for path in (tmp_path, Path.home(), Path(sys.prefix)):
            assert str(path).encode() not in content, f"{name} names {path}"


@pytest.mark.slow
def test_a_small_network_twice(convolutions_model: Path, tmp_path: Path) -> None:
    _compile_twice(convolutions_model, "host", tmp_path)


@pytest.mark.slow
def test_a_symbolic_network_for_a_phone_twice(linear_model: Path, tmp_path: Path) -> None:
    _compile_twice(linear_model, "android-arm64", tmp_path)


def test_another_network_gives_other_bytes(convolutions_bundle: Path, tmp_path: Path) -> None:
    """Otherwise the comparison above would say nothing."""
    from onnx import load, save

    model = load(write_convolutions(tmp_path / "convolutions.onnx"))
    model.graph.node[1].op_type = "Sigmoid"
    save(model, tmp_path / "convolutions.onnx")
    compile(tmp_path / "convolutions.onnx", "host", tmp_path / "b", threads=2)

    def same(name: str) -> bool:
        return (tmp_path / "b" / name).read_bytes() == (convolutions_bundle / name).read_bytes()

    assert not same("libconvolutions.so")
    assert not same("manifest.json")
    assert same("weights.bin")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["host", "android-arm64"])
def test_a_real_network_twice(
    target: str, real_model: Callable[[str, str], Path], tmp_path: Path
) -> None:
    model = real_model("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    _compile_twice(model, target, tmp_path, "--shape", "x=1,3,48,192")
