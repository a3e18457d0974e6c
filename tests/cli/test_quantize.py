"""`autoglm-tvm quantize` and `compile --quantize`: what they write, and a user's mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.targets.errors import UserInputError
from tests.cli.command_line import Outcome, fails, run, snapshot, succeeds
from tests.tiny_networks import write_linear

SHAPE = ("--shape", "x=2,8")
# The module: in its package the function has the same name.
COMPILE = import_module("autoglm_tvm.compiler.compile")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with calibration data: ``data.npz``, ten runs of x float32[2, 8]."""
    monkeypatch.chdir(tmp_path)
    runs = np.random.default_rng(0).standard_normal((10, 2, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=runs)
    return tmp_path


@pytest.fixture
def refused(linear_model: Path, folder: Path) -> Callable[..., Outcome]:
    """Quantize and compile with bad input: one message each, nothing written, old files stand."""

    def refuse(*arguments: object, says: str, code: int = 2, shape: bool = True) -> Outcome:
        (folder / "old.onnx").write_bytes(b"an older good one")
        shapes = SHAPE if shape else ()
        outcome = fails(
            code,
            *("quantize", linear_model, *shapes, "-o", "old.onnx", *arguments),
            says=says,
            changes=folder,
        )
        listed = list(arguments)
        if "--recipe" in listed:
            listed[listed.index("--recipe")] = "--quantize"
        else:
            listed += ["--quantize", "int8"]
        if set(listed).isdisjoint({"--target-drop", "--score", "--report", "--write-recipe"}):
            arguments = ("compile", linear_model, *shapes, "-t", "host", "-o", "bundle", *listed)
            fails(code, *arguments, says=says, changes=folder)
        return outcome

    return refuse


def test_a_model_is_quantized_and_its_cost_told(linear_model: Path, folder: Path) -> None:
    outcome = succeeds("quantize", linear_model, *SHAPE, "--calibration", "data.npz")
    assert (folder / "linear.int8.onnx").is_file()
    written = onnx.load(str(folder / "linear.int8.onnx"))
    operators = {node.op_type for node in written.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators
    for part in ("recipe   int8", "SQNR", "cosine", "2 held-out inputs", "weights", "written"):
        assert part in outcome.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["data.npz", "linear.int8.onnx"]


def test_the_report_has_every_number(linear_model: Path, folder: Path) -> None:
    arguments = ("--calibration", "data.npz", "--per-layer", "-o", "q.onnx")
    files = ("--report", "r.json", "--report", "r.png", "--write-recipe", "r.yaml")
    found = succeeds("quantize", linear_model, *SHAPE, *arguments, *files, "--json").json
    accuracy = found["accuracy"]
    (output,) = accuracy["outputs"]
    assert output["name"] == "y"
    assert 20 < output["sqnr_db"] < 80
    assert 0.99 < output["cosine"] <= 1
    assert output["max_abs"] > 0
    assert accuracy["samples"] == 2
    assert accuracy["random"] is False
    assert 0 < accuracy["weights_after"] < accuracy["weights_before"]
    (layer,) = accuracy["layers"]
    assert (layer["name"], layer["precision"]) == ("product", "int8")
    assert found["written"] == ["q.onnx", "r.yaml", "r.json", "r.png"]
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    recipe = yaml.safe_load((folder / "r.yaml").read_text("utf-8"))
    assert recipe == {"name": "int8", "default": "int8"}


def test_the_same_input_gives_the_same_bytes(linear_model: Path, folder: Path) -> None:
    for name in ("a", "b"):
        arguments = ("--calibration", "data.npz", "--per-layer", "-o", f"{name}.onnx")
        report = ("--report", f"{name}.json")
        succeeds("quantize", linear_model, *SHAPE, *arguments, *report)
    for kind in ("onnx", "json"):
        assert (folder / f"a.{kind}").read_bytes() == (folder / f"b.{kind}").read_bytes()


def test_random_data_says_that_accuracy_means_nothing(linear_model: Path, folder: Path) -> None:
    outcome = succeeds("quantize", linear_model, *SHAPE, "--calibration", "random")
    assert "the data is random, so this accuracy means nothing" in outcome.stdout


@pytest.mark.parametrize("runs", [1, 2])
def test_one_run_is_said_to_be_measured_on_twice(
    linear_model: Path, folder: Path, runs: int
) -> None:
    arguments = ("--calibration", "data.npz", "--limit", runs, "--report", "r.json")
    outcome = succeeds("quantize", linear_model, *SHAPE, *arguments)
    text = " ".join(outcome.stdout.split())
    assert ("measured on what it was calibrated with" in text) == (runs == 1)
    assert ("held-out" in text) == (runs == 2)
    report = json.loads((folder / "r.json").read_text("utf-8"))
    assert report["accuracy"]["held_out"] is (runs == 2)
    assert any("calibrated with" in note for note in report["notes"]) == (runs == 1)


def test_exceptions_are_searched_and_written(linear_model: Path, folder: Path) -> None:
    arguments = ("--calibration", "data.npz", "--target-drop", "0.0000001", "-o", "q.onnx")
    outcome = succeeds("quantize", linear_model, *SHAPE, *arguments)
    assert "target   met" in outcome.stdout
    assert "except   product: fp16" in outcome.stdout or "product: fp32" in outcome.stdout
    text = (folder / "q.recipe.yaml").read_text("utf-8")
    assert "allowed 1e-07" in text
    assert "product" in yaml.safe_load(text)["exceptions"]
    again = ("--recipe", "q.recipe.yaml", "--calibration", "data.npz", "-o", "again.onnx")
    succeeds("quantize", linear_model, *SHAPE, *again)


def test_a_users_score_decides(linear_model: Path, folder: Path) -> None:
    (folder / "score.py").write_text(
        "def score(outputs, inputs):\n"
        "    assert len(outputs) == len(inputs) == 2\n"
        "    return 1.0 if 'y' in outputs[0] else 0.0\n",
        encoding="utf-8",
    )
    arguments = ("--calibration", "data.npz", "--target-drop", "0", "--score", "score.py:score")
    outcome = succeeds("quantize", linear_model, *SHAPE, *arguments)
    assert "met by the recipe as it is" in outcome.stdout


def test_a_bundle_is_quantized_and_verified_by_what_was_saved(
    linear_model: Path, folder: Path
) -> None:
    arguments = ("-t", "host", "-o", "b", "--quantize", "int8", "--calibration", "data.npz")
    extra = ("--per-layer", "--save-quantized", "q.onnx", "--report", "r.json", "--report", "r.png")
    outcome = succeeds("compile", linear_model, *SHAPE, *arguments, *extra)
    for part in ("integer", "SQNR", "held-out", "product"):
        assert part in outcome.stdout
    assert (folder / "r.png").read_bytes().startswith(b"\x89PNG")
    report = json.loads((folder / "r.json").read_text("utf-8"))
    assert report["accuracy"]["layers"][0]["name"] == "product"
    quantization = read_bundle(folder / "b").manifest.quantization
    assert quantization is not None
    assert quantization["recipe"] == "int8"
    assert quantization["accuracy"]["outputs"][0]["cosine"] > 0.99
    assert open_bundle(folder / "b").run({"x": np.zeros((2, 8), np.float32)})["y"].shape == (2, 4)
    told = succeeds("verify", "b", "--reference", "q.onnx", "--json").json
    assert told["ok"] is True
    assert told["steps_allowed"] is True
    assert told["same_model"] is True
    # Another weight than the bundle's: no steps explain that.
    model = onnx.load(str(folder / "q.onnx"))
    (weight,) = (t for t in model.graph.initializer if t.data_type == 3 and len(t.dims) == 2)
    values = onnx.numpy_helper.to_array(weight).copy()
    values[:, 0] = -values[:, 0]
    weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
    onnx.save(model, str(folder / "other.onnx"))
    outcome = run("verify", "b", "--reference", "other.onnx")
    assert outcome.code == 1
    assert "WRONG" in outcome.stdout


def test_verifying_a_quantized_bundle_by_the_float_model_says_how_to(
    linear_model: Path, folder: Path
) -> None:
    arguments = ("-t", "host", "-o", "b", "--quantize", "int8", "--calibration", "data.npz")
    succeeds("compile", linear_model, *SHAPE, *arguments)
    verify = ("verify", "b", "--reference", linear_model)
    fails(2, *verify, says="--save-quantized", changes=folder)
    assert succeeds(*verify, "--tolerance", "0.1", "--json").json["ok"] is True
    assert run(*verify, "--tolerance", "1e-9").code == 1


def test_help_is_told_without_loading_anything() -> None:
    for command in ("quantize", "compile"):
        assert "--calibration" in succeeds(command, "--help").stdout


# Bad input.


def test_wrong_names(refused: Callable[..., Outcome], folder: Path) -> None:
    np.savez(folder / "bad.npz", z=np.zeros((4, 2, 8), np.float32))
    refused("--calibration", "bad.npz", says="'z'")


def test_wrong_shapes(refused: Callable[..., Outcome], folder: Path) -> None:
    np.savez(folder / "bad.npz", x=np.zeros((4, 2, 9), np.float32))
    refused("--calibration", "bad.npz", says="2, 9")


def test_data_that_is_empty(refused: Callable[..., Outcome], folder: Path) -> None:
    (folder / "empty").mkdir()
    refused("--calibration", "empty", says="no calibration data")
    np.savez(folder / "bad.npz", x=np.zeros((0, 2, 8), np.float32))
    refused("--calibration", "bad.npz", says="no calibration data")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_data_that_is_not_finite(
    refused: Callable[..., Outcome], folder: Path, value: float
) -> None:
    arrays = np.zeros((4, 2, 8), np.float32)
    arrays[2, 1, 3] = value
    np.savez(folder / "bad.npz", x=arrays)
    refused("--calibration", "bad.npz", says="run 2")


def test_no_such_data_and_no_data(refused: Callable[..., Outcome]) -> None:
    refused("--calibration", "nowhere", says="nowhere")
    refused(says="needs calibration data")
    refused("--per-layer", "--recipe", "int8-dynamic", says="accuracy cannot be measured")
    refused("--target-drop", "0.1", says="accuracy cannot be measured")


def test_a_generator_that_fails(refused: Callable[..., Outcome], folder: Path) -> None:
    (folder / "gen.py").write_text("def data():\n    yield {}['x']\n", encoding="utf-8")
    refused("--calibration", "gen.py:data", says="KeyError")
    refused("--calibration", "gen.py:dat", says="data")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("exceptions: {product: fp16}", "no default"),
        ("default: int9", "int8"),
        ("default: int8\nexceptions: {prodct: fp16}", "product"),
        ("default: int8\nexceptions: {'*nothing*': fp16}", "matches no node"),
        ("default: int8\nexceptions: {product: fp16, 'op:MatMul': int8}", "contradicts itself"),
        ("default: int8\nexceptions: {product: fp16, product: fp32}", "contradicts itself"),
        ("default: int8\nint8: {metod: minmax}", "method"),
        ("default: int4\nint4: {group: 48}", "group"),
        ("default: int4\nint4: {group: 32}", "do not divide K = 8"),
        ("default: [", "YAML"),
    ],
)
def test_recipes_that_are_wrong(
    refused: Callable[..., Outcome], folder: Path, text: str, says: str
) -> None:
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    refused("--recipe", "r.yaml", "--calibration", "data.npz", says=says)


def test_a_recipe_that_does_not_exist(refused: Callable[..., Outcome]) -> None:
    refused("--recipe", "int88", "--calibration", "data.npz", says="int8")


def test_a_model_that_is_quantized_already(linear_model: Path, folder: Path) -> None:
    succeeds("quantize", linear_model, *SHAPE, "--calibration", "data.npz", "-o", "q.onnx")
    data = ("--calibration", "data.npz")
    says = "quantized already"
    fails(2, "quantize", "q.onnx", *data, "-o", "twice.onnx", says=says, changes=folder)
    arguments = ("compile", "q.onnx", "-t", "host", "-o", "b", "--quantize", "int8", *data)
    fails(2, *arguments, says=says, changes=folder)


def test_an_axis_that_does_not_exist(linear_model: Path, folder: Path) -> None:
    """A Q/DQ file whose per-channel axis the weight has not."""
    succeeds("quantize", linear_model, *SHAPE, "--calibration", "data.npz", "-o", "q.onnx")
    model = onnx.load(str(folder / "q.onnx"))
    changed = 0
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "axis" and node.op_type == "DequantizeLinear":
                attribute.i = 5
                changed += 1
    assert changed
    onnx.save(model, str(folder / "bad.onnx"))
    arguments = ("compile", "bad.onnx", "-t", "host", "-o", "b")
    fails(2, *arguments, says="axis", changes=folder)


def test_files_that_must_not_be_written(linear_model: Path, folder: Path) -> None:
    copy = write_linear(folder / "mine.onnx")
    base = ("quantize", copy, *SHAPE, "--calibration", "data.npz")
    fails(2, *base, "-o", copy, says="is read", changes=folder)
    fails(2, *base, "-o", "no/such/q.onnx", says="no such folder", changes=folder)
    fails(2, *base, "-o", folder, says="this is a folder", changes=folder)
    fails(2, *base, "-o", "q.onnx", "--write-recipe", "q.onnx", says="one file", changes=folder)
    fails(2, *base, "--report", "r.txt", says=".json or .png", changes=folder)
    fails(2, *base, "--report", "r.png", says="--per-layer", changes=folder)
    arguments = ("compile", copy, *SHAPE, "-t", "host", "-o", "b", "--quantize", "int8")
    data = ("--calibration", "data.npz", "--save-quantized")
    fails(2, *arguments, *data, copy, says="is read", changes=folder)
    fails(2, *arguments, *data, "no/q.onnx", says="no such folder", changes=folder)
    data = ("--calibration", "data.npz", "--report")
    fails(2, *arguments, *data, "r.png", says="--per-layer", changes=folder)
    fails(2, *arguments, *data, "r.txt", says=".json or .png", changes=folder)
    fails(2, *arguments, *data, "no/r.json", says="no such folder", changes=folder)


def test_what_is_read_is_not_written_over(linear_model: Path, folder: Path) -> None:
    """Not by a recipe's model, a report or a recipe, of any file that either command reads."""
    copy = write_linear(folder / "mine.onnx")
    (folder / "runs").mkdir()
    np.savez(folder / "runs" / "0.npz", x=np.zeros((2, 8), np.float32))
    (folder / "r.yaml").write_text("default: int8\n", encoding="utf-8")
    text = "def score(o, i):\n    return 1\ndef data():\n    yield {'x': 0}\n"
    (folder / "gen.py").write_text(text, encoding="utf-8")
    base = ("quantize", copy, *SHAPE, "--calibration")
    says = "is read"
    fails(2, *base, "data.npz", "-o", "data.npz", says=says, changes=folder)
    fails(2, *base, "runs", "-o", "runs/0.npz", says=says, changes=folder)
    fails(2, *base, "gen.py:data", "-o", "gen.py", says=says, changes=folder)
    fails(2, *base, "data.npz", "--write-recipe", "r.yaml", "-r", "r.yaml", says=says)
    scored = ("--target-drop", "0.1", "--score", "gen.py:score", "-o", "gen.py")
    fails(2, *base, "data.npz", *scored, says=says, changes=folder)
    base = ("compile", copy, *SHAPE, "-t", "host", "-o", "b", "--calibration", "data.npz")
    saved = "--save-quantized"
    fails(2, *base, "--quantize", "int8", saved, "data.npz", says=says, changes=folder)
    fails(2, *base, "--quantize", "r.yaml", saved, "r.yaml", says=says, changes=folder)
    base = (*base, "--quantize", "int8")
    two = ("--report", "r.json", saved, "./r.json")
    fails(2, *base, *two, says="one file", changes=folder)
    fails(2, *base, "--report", "r.json", "--report", "r.json", says="one file", changes=folder)
    fails(2, *base, saved, "b", says="outside of the bundle", changes=folder)
    (folder / "b").mkdir()
    fails(2, *base, saved, "b/q.onnx", says="outside of the bundle", changes=folder)


def test_a_model_that_cannot_be_saved_leaves_no_bundle(
    linear_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(_model: object) -> bytes:
        raise UserInputError("the quantized model takes more than 2 GB", hint="none")

    base = ("compile", linear_model, *SHAPE, "-t", "host", "-o", "b", "--quantize", "int8")
    saved = ("--calibration", "data.npz", "--save-quantized", "q.onnx")
    with monkeypatch.context() as patched:
        patched.setattr(COMPILE, "model_bytes", too_large)
        fails(2, *base, *saved, says="2 GB", changes=folder)

    def broken(*_arguments: object) -> None:
        raise UserInputError("the disk is full", hint="free some space")

    with monkeypatch.context() as patched:
        patched.setattr(COMPILE, "package", broken)
        fails(2, *base, *saved, says="the disk is full", changes=folder)
    succeeds(*base, *saved)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["b", "data.npz", "q.onnx"]


def test_options_that_need_others(linear_model: Path, folder: Path) -> None:
    base = ("quantize", linear_model, *SHAPE, "--calibration", "data.npz")
    fails(2, *base, "--score", "score.py:f", says="--target-drop", changes=folder)
    fails(2, *base, "--target-drop", "1.5", says="1.5", changes=folder)
    fails(2, *base, "--target-drop", "nan", says="nan", changes=folder)
    fails(2, *base, "--limit", "0", says="--limit", changes=folder)
    random = ("quantize", linear_model, *SHAPE, "--calibration", "random")
    fails(2, *random, "--target-drop", "0.1", says="random", changes=folder)
    compile_ = ("compile", linear_model, *SHAPE, "-t", "host", "-o", "b")
    options = (
        *(("--calibration", "data.npz"), ("--per-layer",), ("--save-quantized", "q.onnx")),
        ("--report", "r.json"),
    )
    for lonely in options:
        fails(2, *compile_, *lonely, says="--quantize", changes=folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def score(outputs, inputs):\n    return outputs[99]\n", "IndexError"),
        ("def score(outputs, inputs):\n    return float('nan')\n", "the score is nan"),
        ("def scores(outputs, inputs):\n    return 1\n", "scores"),
        ("import nothing_of_that_name\n", "ModuleNotFoundError"),
    ],
)
def test_scores_that_fail(linear_model: Path, folder: Path, text: str, says: str) -> None:
    (folder / "score.py").write_text(text, encoding="utf-8")
    arguments = ("--calibration", "data.npz", "--target-drop", "0.1", "--score", "score.py:score")
    fails(2, "quantize", linear_model, *SHAPE, *arguments, says=says, changes=folder)


def test_a_full_disk_leaves_what_was_there(
    linear_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second file of two cannot be written: the first one is not there either."""
    base = ("quantize", linear_model, *SHAPE, "--calibration", "data.npz", "-o", "q.onnx")
    (folder / ".r.json.part").mkdir()
    before = snapshot(folder)
    outcome = run(*base, "--report", "r.json")
    assert outcome.code == 2
    assert "cannot write it" in outcome.stderr
    assert snapshot(folder) == before
