"""`inspect`, `targets` and `doctor`: what they tell, as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from autoglm_tvm.artifacts.manifest import Manifest
from autoglm_tvm.targets import load_presets
from tests.cli.command_line import fails, run, snapshot, succeeds
from tests.tiny_networks import write_unsupported


def test_inspect_a_model(linear_model: Path) -> None:
    before = snapshot(linear_model.parent)
    text = succeeds("inspect", linear_model).stdout
    for part in (
        "ai.onnx 17",
        "x: float32[n, 8]",
        "y: float32[n, 4]",
        "MatMul 1",
        "imports    yes",
    ):
        assert part in text
    found = succeeds("inspect", linear_model, "--json").json
    assert found["opsets"] == {"ai.onnx": 17}
    assert found["operators"] == {"Add": 1, "MatMul": 1, "Relu": 1}
    assert found["parameters"] == 8 * 4 + 4
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["n", 8]}]
    assert found["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["n", 4]}]
    assert found["nodes_read"] == 3
    assert found["refusal"] == ""
    assert snapshot(linear_model.parent) == before


def test_inspect_a_model_of_fixed_shape(linear_model: Path) -> None:
    found = succeeds("inspect", linear_model, "--shape", "x=5,8", "--json").json
    assert found["inputs"][0]["shape"] == [5, 8]
    assert found["outputs"][0]["shape"] == [5, 4]
    fails(2, "inspect", linear_model, "--shape", "x=5,9", says="[n, 8]")
    fails(2, "inspect", linear_model, "--shape", "z=5", says="'z'")


def test_inspect_a_model_that_cannot_be_compiled(tmp_path: Path) -> None:
    """It is what the user asks about: the answer is the reason, and no error."""
    model = write_unsupported(tmp_path / "odd.onnx")
    text = succeeds("inspect", model).stdout
    assert "compiles   no" in text
    found = succeeds("inspect", model, "--json").json
    assert found["operators"] == {"my.domain::Bend": 1, "my.domain::Twist": 1}
    assert found["inputs"] == []
    for part in ("Twist", "Bend", "my.domain"):
        assert part in text
        assert part in found["refusal"]


def test_inspect_a_bundle(phone_bundle: Path) -> None:
    text = succeeds("inspect", phone_bundle).stdout
    for part in ("every file matches", "aarch64-linux-android", "liblinear.so", "weights.bin"):
        assert part in text
    printed = succeeds("inspect", phone_bundle, "--json")
    manifest = Manifest.from_json(printed.stdout, "stdout")
    assert manifest.target["name"] == "android-arm64"
    assert printed.json == json.loads((phone_bundle / "manifest.json").read_text("utf-8"))


def test_inspect_a_changed_bundle(own_bundle: Path) -> None:
    (own_bundle / "report.json").write_text("{}")
    fails(1, "inspect", own_bundle, says="report.json")


def test_inspect_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    fails(2, "inspect", tmp_path, says="no bundle", changes=tmp_path)


def test_targets_are_listed() -> None:
    text = succeeds("targets").stdout
    found = {preset["name"]: preset for preset in succeeds("targets", "--json").json}
    assert set(found) == set(load_presets())
    assert {"android-arm64", "android-arm64-v8.2", "android-arm64-v8.6"} <= set(found)
    assert {"android-x86_64", "linux-arm64", "host"} <= set(found)
    for name, preset in found.items():
        assert name in text
        assert preset["description"] in text
    assert "aarch64-linux-android" in text
    assert "libtvm_ffi.so, libc.so, libm.so" in text
    assert "+dotprod" in text


def test_doctor_finds_what_is_here() -> None:
    outcome = run("doctor", "--json")
    found = {item["name"]: item for item in outcome.json["capabilities"]}
    assert outcome.code == 0
    assert outcome.json["ok"] is True
    for name in ("python", "apache-tvm", "apache-tvm-ffi", "onnx", "linker for android-arm64"):
        assert found[name]["ok"], found[name]
    for item in found.values():
        assert bool(item["hint"]) == (not item["ok"]), item
    text = run("doctor")
    assert text.code == 0
    assert "everything that is required is here" in text.stdout
    assert all(name in text.stdout for name in found)


def test_doctor_tells_what_is_missing_and_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "no-ndk"))
    outcome = run("doctor", "--json")
    assert outcome.code == 3
    assert outcome.json["ok"] is False
    found = {item["name"]: item for item in outcome.json["capabilities"]}
    assert "unset" in found["linker for android-arm64"]["hint"]
    assert found["adb"]["hint"] == "sudo apt-get install adb"
    text = run("doctor")
    assert text.code == 3
    assert "missing: linker for android-arm64" in text.stdout
    assert "apt-get install adb" in text.stdout
