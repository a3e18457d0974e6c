"""`autoglm-tvm compile`: bundles, and every mistake a user can make."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.artifacts.bundle import read_bundle
from tests.cli.command_line import fails, run, snapshot, succeeds
from tests.tiny_networks import linear_input, write_unsupported

SHAPE = ("--shape", "x=2,8")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bundle_for_a_phone_is_the_default(linear_model: Path, folder: Path) -> None:
    outcome = succeeds("compile", linear_model)
    bundle = read_bundle(folder / "linear-android-arm64")
    assert bundle.manifest.target["name"] == "android-arm64"
    assert bundle.manifest.inputs[0].shape == ("n", 8)
    assert bundle.manifest.dimensions == {"n": {"min": 1, "max": None}}
    for part in ("linear-android-arm64", "x: float32[n, 8]", "y: float32[n, 4]", "ELF checks"):
        assert part in outcome.stdout
    assert [path.name for path in folder.iterdir()] == ["linear-android-arm64"]


def test_json_names_the_bundle_and_what_it_takes(linear_model: Path, folder: Path) -> None:
    arguments = ("-t", "host", "-o", "b", *SHAPE, "--name", "mine", "--threads", 3, "--json")
    found = succeeds("compile", linear_model, *arguments).json
    assert found["bundle"] == "b"
    assert found["target"] == "host"
    assert found["inputs"] == ["x: float32[2, 8]"]
    assert found["outputs"] == ["y: float32[2, 4]"]
    assert found["elf_check"]["ok"] is True
    assert found["kernel_calls"] >= 1
    assert found["weights_bytes"] > 0
    assert found["activations_peak_bytes"] >= 2 * 4 * 4
    assert list(found["seconds"]) == [
        *("read", "quantize", "import", "optimise", "schedule", "build", "package")
    ]
    bundle = open_bundle(folder / "b")
    assert bundle.manifest.library == "libmine.so"
    assert bundle.threads == 3
    assert bundle.run(linear_input())["y"].shape == (2, 4)


def test_a_target_is_refined(linear_model: Path, folder: Path) -> None:
    refinement = ("--cpu", "cortex-x3", "--features", "+i8mm,-sve2")
    succeeds("compile", linear_model, *SHAPE, "-o", "b", *refinement)
    target = read_bundle(folder / "b").manifest.target
    assert target["cpu"] == "cortex-x3"
    assert {"+i8mm", "-sve2"} <= set(target["features"])


def test_every_stage_is_dumped_in_order(linear_model: Path, folder: Path) -> None:
    succeeds("compile", linear_model, *SHAPE, "-t", "host", "-o", "b", "--dump-dir", "d")
    stages = sorted(path.name for path in (folder / "d").iterdir() if path.is_dir())
    names = ("read", "quantize", "import", "optimise", "schedule", "build")
    assert stages == [f"{number:02d}-{name}" for number, name in enumerate(names, 1)]
    for stage in stages:
        assert (folder / "d" / stage / "summary.txt").read_text("utf-8").strip()
        assert len(list((folder / "d" / stage).iterdir())) > 1


def test_an_old_bundle_is_replaced(linear_model: Path, folder: Path) -> None:
    for threads in (1, 2):
        succeeds("compile", linear_model, *SHAPE, "-t", "host", "-o", "b", "--threads", threads)
        assert read_bundle(folder / "b").manifest.target["threads"] == threads
    assert [path.name for path in folder.iterdir()] == ["b"]


BAD_OPTIONS = [
    (["--target", "android-arm65"], "android-arm64"),
    (["--target", ""], "android-arm64"),
    (["--cpu", "cortex-x33"], "cortex-x3"),
    (["--features", "+dotprodd"], "dotprod"),
    (["--features", "dotprod"], "sign"),
    (["--threads", "0"], "1 to 1024"),
    (["--threads", "many"], "--threads"),
    (["--layout", "NHCW"], "NHWC"),
    (["--name", "my net"], "--name"),
    (["--name", "../evil"], "--name"),
    (["--shape", "x"], "NAME=1,3,224,224"),
    (["--shape", "x="], "[n, 8]"),
    (["--shape", "=2,8"], "NAME=1,3,224,224"),
    (["--shape", "x=2,,8"], "NAME=1,3,224,224"),
    (["--shape", "x=2,8", "--shape", "x=3,8"], "twice"),
    (["--shape", "X=2,8"], "inputs: x [n, 8]"),
    (["--shape", "x=2,9"], "[n, 8]"),
    (["--shape", "x=2"], "[n, 8]"),
    (["--shape", "x=0,8"], "x"),
    (["--shape", "x=-1,8"], "x"),
    (["--shape", "x=2.5,8"], "'2.5'"),
    (["--shape", "x=²,8e0"], "'8e0'"),
    (["--no-such-option"], "No such option"),
    (["second-model.onnx"], "second-model.onnx"),
]


@pytest.mark.parametrize(
    ("options", "says"), BAD_OPTIONS, ids=[" ".join(o) for o, _ in BAD_OPTIONS]
)
def test_a_wrong_option(options: list[str], says: str, linear_model: Path, folder: Path) -> None:
    fails(2, "compile", linear_model, "-o", "b", *options, says=says, changes=folder)


def _bad_file(folder: Path, kind: str, model: Path) -> Path:
    path = folder / "bad.onnx"
    if kind == "a folder":
        path.mkdir()
    elif kind == "truncated":
        path.write_bytes(model.read_bytes()[:-20])
    elif kind != "missing":
        path.write_bytes({"empty": b"", "text": b"hello\n", "zip": b"PK\x03\x04abc"}[kind])
    return path


@pytest.mark.parametrize("kind", ["missing", "a folder", "empty", "text", "zip", "truncated"])
@pytest.mark.parametrize("command", ["compile", "inspect"])
def test_a_file_that_is_no_model(command: str, kind: str, linear_model: Path, folder: Path) -> None:
    path = _bad_file(folder, kind, linear_model)
    says = "bad.onnx" if (command, kind) != ("inspect", "a folder") else "no bundle"
    fails(2, command, path, says=says, changes=folder)


def test_unsupported_operators_are_all_named(folder: Path) -> None:
    model = write_unsupported(folder / "odd.onnx")
    outcome = fails(2, "compile", model, says="Twist", changes=folder)
    for part in ("first", "Twist", "second", "Bend", "my.domain"):
        assert part in outcome.stderr


@pytest.mark.parametrize(
    ("output", "says"),
    [
        ("photos", "no bundle"),
        ("photos/cat.jpg", "a file of this name"),
        ("photos/cat.jpg/b", "cannot write"),
        ("/proc/nowhere/b", "cannot write"),
    ],
)
def test_an_output_that_cannot_be_written(
    output: str, says: str, linear_model: Path, folder: Path
) -> None:
    (folder / "photos").mkdir()
    (folder / "photos/cat.jpg").write_bytes(b"cat")
    arguments = (linear_model, *SHAPE, "-t", "host", "-o", output)
    fails(2, "compile", *arguments, says=says, changes=folder)


def test_a_dump_that_cannot_be_written(linear_model: Path, folder: Path) -> None:
    (folder / "file").touch()
    arguments = (linear_model, *SHAPE, "-t", "host", "-o", "b", "--dump-dir", "file/d")
    fails(2, "compile", *arguments, says="--dump-dir", changes=folder)


def test_without_a_linker(
    linear_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "gnu")
    outcome = fails(3, "compile", linear_model, *SHAPE, says="no linker", changes=folder)
    assert "pip install" in outcome.json["error"]["hint"]


def test_a_linker_that_nobody_knows(
    linear_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "gold")
    fails(2, "compile", linear_model, *SHAPE, says="AUTOGLM_TVM_LINKER", changes=folder)


def _pretend_installed(
    folder: Path, package: str, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = folder / f"{package.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
    (info / "METADATA").write_text(metadata, "utf-8")
    monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("package", ["apache-tvm", "apache-tvm-ffi"])
def test_another_version_of_tvm(
    package: str,
    linear_model: Path,
    folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _pretend_installed(tmp_path_factory.mktemp("packages"), package, "0.26.0", monkeypatch)
    outcome = fails(3, "compile", linear_model, *SHAPE, says=f"{package} 0.26.0", changes=folder)
    assert re.search(r'pip install "apache-tvm==', outcome.json["error"]["hint"])
    doctor = run("doctor", "--json")
    assert doctor.code == 3
    (broken,) = [item for item in doctor.json["capabilities"] if item["name"] == package]
    assert not broken["ok"]
    assert "pip install" in broken["hint"]


def test_a_failure_leaves_the_old_bundle(
    linear_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("compile", linear_model, *SHAPE, "-t", "host", "-o", "b")
    succeeds(*arguments)
    before = snapshot(folder)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "lld")
    assert run(*arguments).code == 3
    assert snapshot(folder) == before
    outputs = open_bundle(folder / "b").run(linear_input())
    assert np.all(np.isfinite(outputs["y"]))
