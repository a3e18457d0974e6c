"""`autoglm-tvm run`: outputs in a file, and inputs that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler import compile
from autoglm_tvm.compiler.reference import run_reference
from tests.cli.command_line import fails, run, succeeds
from tests.tiny_networks import linear_input


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    path = tmp_path / "x.npz"
    arrays: dict[str, Any] = {**linear_input()}
    np.savez(path, **arrays)
    return path


def test_outputs_are_written_by_name(
    linear_bundle: Path, linear_model: Path, inputs: Path, tmp_path: Path
) -> None:
    output = tmp_path / "y.npz"
    printed = succeeds("run", linear_bundle, "--inputs", inputs, "-o", output).stdout
    assert "y: float32[2, 4]" in printed
    assert str(output) in printed
    with np.load(output) as written:
        assert written.files == ["y"]
        expected = run_reference(linear_model, linear_input())["y"]
        np.testing.assert_allclose(written["y"], expected, rtol=1e-5, atol=1e-6)


def test_json_names_the_outputs(linear_bundle: Path, inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "y"  # no suffix is added
    arguments = ("--inputs", inputs, "-o", output, "--threads", 1, "--json")
    found = succeeds("run", linear_bundle, *arguments).json
    assert found["output"] == str(output)
    assert found["outputs"] == {"y": ["float32", [2, 4]]}
    assert found["seconds"] > 0
    assert output.is_file()


def test_any_name_of_an_output_can_be_written(tmp_path: Path) -> None:
    """`file` is a parameter of numpy.savez; `a/b` and `:` are common in names."""
    from onnx import helper, save

    names = ["file", "a/b:0", "allow_pickle"]
    graph = helper.make_graph(
        [helper.make_node("Neg", ["x"], [name]) for name in names],
        "names",
        [helper.make_tensor_value_info("x", 1, [3])],
        [helper.make_tensor_value_info(name, 1, [3]) for name in names],
    )
    model = tmp_path / "names.onnx"
    opsets = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), model)
    compile(model, "host", tmp_path / "b")
    np.savez(tmp_path / "x.npz", x=np.arange(3, dtype=np.float32))
    succeeds("run", tmp_path / "b", "--inputs", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    with np.load(tmp_path / "y.npz") as written:
        assert sorted(written.files) == sorted(names)
        for name in names:
            np.testing.assert_array_equal(written[name], [0, -1, -2])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"X": np.zeros((2, 8), np.float32)}, "did you mean 'x'?"),
        ({"x": np.zeros((2, 8))}, "the dtype is float64"),
        ({"x": np.zeros((3, 8), np.float32)}, "the shape is [3, 8]"),
        ({}, "missing input: x"),
    ],
    ids=["name", "dtype", "shape", "missing"],
)
def test_wrong_inputs(
    arrays: dict[str, Any], says: str, linear_bundle: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    arguments = (linear_bundle, "--inputs", tmp_path / "x.npz", "-o", tmp_path / "y.npz")
    fails(2, "run", *arguments, says=says, changes=tmp_path)


def _bad_inputs(path: Path, kind: str, good: Path) -> None:
    if kind == "text":
        path.write_text("hello")
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif kind == "truncated":
        path.write_bytes(good.read_bytes()[:-30])
    elif kind == "pickled objects":
        np.savez(path, x=np.array([object()], dtype=object), allow_pickle=True)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()


@pytest.mark.parametrize(
    "kind", ["missing", "text", "npy", "truncated", "pickled objects", "a folder", "empty"]
)
@pytest.mark.parametrize("command", ["run", "verify"])
def test_a_file_that_is_no_npz(
    command: str, kind: str, linear_bundle: Path, linear_model: Path, inputs: Path, tmp_path: Path
) -> None:
    path = tmp_path / "bad.npz"
    _bad_inputs(path, kind, inputs)
    others = ("-o", tmp_path / "y.npz") if command == "run" else ("--reference", linear_model)
    arguments = (command, linear_bundle, "--inputs", path, *others)
    outcome = fails(2, *arguments, says="bad.npz", changes=tmp_path)
    assert "numpy.savez" in outcome.json["error"]["hint"]


@pytest.mark.parametrize("output", ["nowhere/y.npz", "x.npz/y.npz", ".", "/dev/full"])
def test_an_output_that_cannot_be_written(
    output: str,
    linear_bundle: Path,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = (linear_bundle, "--inputs", inputs, "-o", output)
    fails(2, "run", *arguments, says="cannot write the outputs", changes=tmp_path)


def test_a_failed_write_leaves_the_old_outputs(
    linear_bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    (tmp_path / "y.npz").write_bytes(b"old")
    # Where the new ones are to be written first stands a folder.
    (tmp_path / ".y.npz.part").mkdir()
    arguments = (linear_bundle, "--inputs", inputs, "-o", tmp_path / "y.npz")
    fails(2, "run", *arguments, says="cannot write the outputs", changes=tmp_path)


def test_a_device_is_written_to_and_not_replaced(
    linear_bundle: Path, inputs: Path, tmp_path: Path
) -> None:
    null = tmp_path / "null"
    null.symlink_to("/dev/null")
    succeeds("run", linear_bundle, "--inputs", inputs, "-o", null)
    assert null.is_symlink()
    assert not null.is_file()


def test_a_changed_bundle_is_refused(own_bundle: Path, inputs: Path, tmp_path: Path) -> None:
    with (own_bundle / "weights.bin").open("r+b") as file:
        file.write(b"\xff")
    arguments = (own_bundle, "--inputs", inputs, "-o", tmp_path / "y.npz")
    fails(1, "run", *arguments, says="weights.bin", changes=tmp_path)


def test_no_bundle(inputs: Path, tmp_path: Path) -> None:
    arguments = (tmp_path / "none", "--inputs", inputs, "-o", tmp_path / "y.npz")
    fails(2, "run", *arguments, says="no bundle", changes=tmp_path)


def test_a_bundle_for_a_phone(phone_bundle: Path, inputs: Path, tmp_path: Path) -> None:
    arguments = (phone_bundle, "--inputs", inputs, "-o", tmp_path / "y.npz")
    fails(2, "run", *arguments, says="android-arm64", changes=tmp_path)


def test_no_threads(linear_bundle: Path, inputs: Path, tmp_path: Path) -> None:
    arguments = (linear_bundle, "--inputs", inputs, "-o", tmp_path / "y.npz", "--threads", 0)
    fails(2, "run", *arguments, says="threads must be 1 or more", changes=tmp_path)


def test_what_must_be_given(linear_bundle: Path, inputs: Path) -> None:
    fails(2, "run", linear_bundle, "-o", "y.npz", says="--inputs")
    fails(2, "run", linear_bundle, "--inputs", inputs, says="--output")
    assert run("run").code == 2
