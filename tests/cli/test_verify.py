"""`autoglm-tvm verify`: right and wrong bundles, and devices that are not there."""

from __future__ import annotations

import socket
from pathlib import Path

import numpy as np
import pytest

from tests.cli.command_line import fails, run, succeeds
from tests.tiny_networks import linear_input, write_convolutions, write_linear


def test_a_right_bundle(linear_bundle: Path, linear_model: Path) -> None:
    printed = succeeds("verify", linear_bundle, "--reference", linear_model).stdout
    assert "right: largest relative error" in printed
    assert "random (seed 0) inputs" in printed
    assert "this machine" in printed


def test_json_tells_the_error_of_each_output(linear_bundle: Path, linear_model: Path) -> None:
    found = succeeds("verify", linear_bundle, "--reference", linear_model, "--json").json
    assert found["ok"] is True
    assert found["same_model"] is True
    assert found["tolerance"] == 1e-3
    (output,) = found["outputs"]
    assert output["name"] == "y"
    assert output["relative"] < 1e-5
    assert output["cosine"] > 0.9999
    assert found["layers"] == []


def test_given_inputs_are_used(linear_bundle: Path, linear_model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=linear_input()["x"])
    arguments = ("--reference", linear_model, "--inputs", tmp_path / "x.npz", "--json")
    assert succeeds("verify", linear_bundle, *arguments).json["inputs"] == "given"
    np.savez(tmp_path / "x.npz", wrong=np.zeros(1))
    arguments = ("--reference", linear_model, "--inputs", tmp_path / "x.npz")
    fails(2, "verify", linear_bundle, *arguments, says="no input 'wrong'")


def test_each_layer_is_compared(convolutions_bundle: Path, convolutions_model: Path) -> None:
    arguments = ("--reference", convolutions_model, "--per-layer")
    layers = succeeds("verify", convolutions_bundle, *arguments, "--json").json["layers"]
    assert "r1" in [layer["name"] for layer in layers]
    assert all(layer["relative"] < 1e-3 for layer in layers)
    printed = succeeds("verify", convolutions_bundle, *arguments).stdout
    assert "layers, in the order of execution" in printed


def test_one_layer_is_compared(linear_bundle: Path, linear_model: Path) -> None:
    arguments = ("--reference", linear_model, "--per-layer", "--json")
    layers = succeeds("verify", linear_bundle, *arguments).json["layers"]
    assert [layer["name"] for layer in layers] == ["y"]


def test_another_network_of_the_same_inputs_is_found_wrong(
    linear_bundle: Path, tmp_path: Path
) -> None:
    other = write_linear(tmp_path / "other.onnx", seed=1)
    text = run("verify", linear_bundle, "--reference", other)
    assert text.code == 1
    assert "WRONG" in text.stdout
    assert "not the file that the bundle was compiled from" in text.stdout
    outcome = run("verify", linear_bundle, "--reference", other, "--json")
    assert outcome.code == 1
    assert outcome.json["ok"] is False
    assert outcome.json["same_model"] is False
    assert outcome.json["outputs"][0]["relative"] > 1e-2


def test_the_tolerance_decides(linear_bundle: Path, tmp_path: Path) -> None:
    other = write_linear(tmp_path / "other.onnx", seed=1)
    arguments = ("--reference", other, "--tolerance", 100, "--json")
    assert succeeds("verify", linear_bundle, *arguments).json["tolerance"] == 100


@pytest.mark.parametrize("tolerance", ["-1", "nan", "much"])
def test_a_tolerance_that_is_none(tolerance: str, linear_bundle: Path, linear_model: Path) -> None:
    arguments = ("--reference", linear_model, "--tolerance", tolerance)
    fails(2, "verify", linear_bundle, *arguments, says="--tolerance")


def test_another_model(linear_bundle: Path, tmp_path: Path) -> None:
    other = write_convolutions(tmp_path / "other.onnx")
    fails(2, "verify", linear_bundle, "--reference", other, says="other.onnx")


@pytest.mark.parametrize("kind", ["missing", "text"])
def test_a_reference_that_is_no_model(kind: str, linear_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    if kind == "text":
        path.write_text("hello")
    fails(2, "verify", linear_bundle, "--reference", path, says="bad.onnx")


def test_a_changed_bundle_is_refused(own_bundle: Path, linear_model: Path) -> None:
    (own_bundle / "liblinear.so").unlink()
    fails(1, "verify", own_bundle, "--reference", linear_model, says="liblinear.so")


def test_a_tracker_and_a_key_go_together(linear_bundle: Path, linear_model: Path) -> None:
    start = ("verify", linear_bundle, "--reference", linear_model)
    fails(2, *start, "--tracker", "127.0.0.1:9190", says="--tracker and --key go together")
    fails(2, *start, "--key", "phone", says="--tracker and --key go together")


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1", "127.0.0.1:phone", ":9190"])
def test_a_tracker_address_that_is_none(
    address: str, phone_bundle: Path, linear_model: Path
) -> None:
    start = ("verify", phone_bundle, "--reference", linear_model)
    fails(2, *start, "--tracker", address, "--key", "phone", says="HOST:PORT")


def test_no_tracker_listens(phone_bundle: Path, linear_model: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: a connection is refused
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        start = ("verify", phone_bundle, "--reference", linear_model)
        fails(3, *start, "--tracker", address, "--key", "phone", says=address)
