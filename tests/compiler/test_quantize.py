"""The stage `quantize`: what it refuses, what it tells, and the bytes that it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.compiler import compile, explain, verify
from autoglm_tvm.compiler.quantization.recipe import Int8Settings, Recipe
from autoglm_tvm.compiler.quantize import quantize, quantize_request
from autoglm_tvm.compiler.quantize_onnx import quantize_onnx
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets import resolve_target
from autoglm_tvm.targets.errors import UserInputError
from tests.cli.command_line import fails, succeeds
from tests.compiler.integer.islands import Island, weight
from tests.compiler.onnx_text import model_from_text, random_array

#: A Q/DQ model of one product and one Softmax.
QUANTIZED = Island(
    "wd = DequantizeLinear<axis=1>(w, sw, zw)\nr0 = MatMul(ad, wd)\nr = Softmax(r0)",
    {"a": (3, 8)},
    weight(8, 5, axis=1),
    quantized=False,
)
ALREADY = "the model is quantized already, so it cannot be quantized once more"


def float_model() -> onnx.ModelProto:
    """Two products and a Relu between."""
    text = """g (float[4, 16] x) => (float[4, 8] y) {
        h = MatMul(x, w)  r = Relu(h)  y = MatMul(r, v) }"""
    return model_from_text(text, {"w": random_array(16, 24), "v": random_array(24, 8, seed=1)})


def recipe(default: str, **settings: Any) -> Recipe:
    """A recipe without exceptions."""
    return Recipe("mine", default, (), int8=Int8Settings(**settings))


@pytest.fixture
def quantized_file(tmp_path: Path) -> Path:
    """`QUANTIZED` in a file."""
    path = tmp_path / "quantized.onnx"
    onnx.save(QUANTIZED.model(), path)
    return path


@pytest.mark.parametrize("operator", ["Q/DQ", "MatMulInteger"])
def test_a_quantized_model_is_not_quantized_again(operator: str, tmp_path: Path) -> None:
    model = QUANTIZED.model()
    if operator == "MatMulInteger":
        text = """g (uint8[3, 8] x) => (int32[3, 5] y) { y = MatMulInteger(x, w) }"""
        model = model_from_text(text, {"w": np.ones((8, 5), np.int8)})
    with pytest.raises(UserInputError, match=ALREADY):
        compile(
            *(model, "host", tmp_path / "b"),
            quantize="int8",
            calibration="random",
            dump_dir=tmp_path / "dump",
        )
    assert list(tmp_path.iterdir()) == []


def test_a_quantized_table_that_reading_moves_is_found(tmp_path: Path) -> None:
    text = """g (int64[2] i) => (float[2, 16] y) {
        td = DequantizeLinear<axis=0>(t, st, zt)  e = Gather(td, i)  y = MatMul(e, w) }"""
    table = {
        "t": np.ones((10, 32), np.int8),
        "st": np.full(10, 0.1, np.float32),
        "zt": np.zeros(10, np.int8),
    }
    model = model_from_text(text, {**table, "w": random_array(32, 16)})
    assert read(model).quantized == "DequantizeLinear_0"
    assert read(float_model()).quantized is None
    with pytest.raises(UserInputError, match=ALREADY):
        quantize_onnx(model, "int8", "random")
    with pytest.raises(UserInputError, match=ALREADY):
        compile(model, "host", tmp_path / "b", quantize="int8", calibration="random")


def test_calibration_without_a_recipe_is_refused(tmp_path: Path) -> None:
    options: tuple[dict[str, Any], ...] = ({"calibration": "random"}, {"per_layer": True})
    for option in options:
        with pytest.raises(UserInputError, match="belongs to a recipe"):
            compile(float_model(), "host", tmp_path / "b", **option)
    assert list(tmp_path.iterdir()) == []


def test_a_float_model_passes_through() -> None:
    graph = read(float_model())
    result = quantize(graph, resolve_target("host"))
    assert result.model is result.source is graph
    assert (result.nodes, result.quantized, result.accuracy) == ((), None, None)
    assert result.to_json() is None
    assert result.summary() == "nothing is quantized"


def test_a_q_dq_model_says_how_its_nodes_run(quantized_file: Path, tmp_path: Path) -> None:
    result = compile(quantized_file, "host", tmp_path / "b", dump_dir=tmp_path / "dump", threads=1)
    manifest = read_bundle(tmp_path / "b").manifest
    assert manifest.quantization is not None
    assert manifest.quantization["recipe"] is None
    nodes = {node["op_type"]: node for node in manifest.quantization["nodes"]}
    assert (nodes["MatMul"]["runs"], nodes["MatMul"]["multiply_adds"]) == ("integer", 120)
    assert (nodes["Softmax"]["runs"], nodes["Softmax"]["reason"]) == ("float", "")
    report = json.loads((tmp_path / "b" / "report.json").read_text("utf-8"))
    assert report["quantization"] == manifest.quantization
    assert "integer: 1 nodes, 100.0% of multiply-adds" in report["stages"]["quantize"]
    assert result.quantized.summary() == report["stages"]["quantize"]
    dumped = tmp_path / "dump" / "02-quantize"
    before, after = (onnx.load(dumped / f"{name}.onnx") for name in ("quantized", "integer"))
    assert "MatMul" in [node.op_type for node in before.graph.node]
    assert "MatMulInteger" in [node.op_type for node in after.graph.node]
    assert "integer\tMatMul" in (dumped / "nodes.txt").read_text("utf-8").replace("_3", "")


def test_the_same_model_gives_the_same_bytes(quantized_file: Path, tmp_path: Path) -> None:
    for name in ("first", "second"):
        compile(quantized_file, "android-arm64", tmp_path / name)
    first, second = (read_bundle(tmp_path / name).manifest for name in ("first", "second"))
    assert first.to_json() == second.to_json()


@pytest.mark.parametrize("requantization", ["float32", "fixed-point"])
def test_a_recipe_chooses_the_requantization(requantization: str) -> None:
    graph = read(float_model())
    chosen = recipe("int8", smooth=None, requantization=requantization)
    request = quantize_request(graph, chosen, "random", limit=3)
    result = quantize(graph, resolve_target("host"), request)
    assert {node.runs for node in result.nodes} == {"integer"}
    used = {node.op_type for node in result.model.proto.graph.node}
    assert ("BitShift" in used) == (requantization == "fixed-point")
    assert result.accuracy is not None
    told = result.to_json()
    assert told is not None
    assert told["recipe"] == "mine"
    assert told["settings"]["default"] == "int8"
    assert (requantization in json.dumps(told["settings"])) == (requantization == "fixed-point")
    assert len(told["model_sha256"]) == 64
    assert json.loads(json.dumps(told)) == told


def test_half_runs_where_the_cpu_has_it() -> None:
    graph = read(float_model())
    for target, runs in (("android-arm64-v8.2", "half"), ("android-arm64", "float")):
        request = quantize_request(graph, recipe("fp16"), None)
        result = quantize(graph, resolve_target(target), request)
        products = [node for node in result.nodes if node.op_type == "MatMul"]
        assert {node.runs for node in products} == {runs}
        reason = "" if runs == "half" else "float16 weights; this CPU has no half arithmetic"
        assert {node.reason for node in products} == {reason}
        types = {tensor.data_type for tensor in result.model.proto.graph.initializer}
        assert onnx.TensorProto.FLOAT16 in types


def test_explain_tells_the_same_of_a_model_and_of_its_bundle(
    quantized_file: Path, tmp_path: Path
) -> None:
    compile(quantized_file, "android-arm64", tmp_path / "b")
    of_bundle, of_model = explain(tmp_path / "b"), explain(quantized_file, "android-arm64")
    assert of_bundle.nodes == of_model.nodes
    assert [node.runs for node in of_model.nodes] == ["integer", "float"]
    chosen = of_model.select(pattern=of_model.kernels[0].function)
    assert chosen.nodes == of_model.nodes
    found = succeeds("explain", tmp_path / "b", "--json").json
    assert [node["runs"] for node in found["nodes"]] == ["integer", "float"]
    assert [(way["runs"], way["of_multiply_adds"]) for way in found["runs"]] == [
        ("integer", 1.0),
        ("float", 0.0),
    ]


def test_explain_lists_what_was_refused(tmp_path: Path) -> None:
    island = Island("r0 = Softmax(ad)\nr = Transpose(r0)", {"a": (3, 8)})
    onnx.save(island.model(), tmp_path / "softmax.onnx")
    text = succeeds("explain", tmp_path / "softmax.onnx").stdout
    assert "it is computed in float, where it keeps its accuracy" in text
    assert "multiply-adds" in text


def test_explain_says_nothing_of_arithmetic_where_nothing_is_quantized(tmp_path: Path) -> None:
    onnx.save(float_model(), tmp_path / "float.onnx")
    assert "arithmetic" not in succeeds("explain", tmp_path / "float.onnx").stdout


def test_the_command_line_refuses_a_quantized_model(quantized_file: Path) -> None:
    options = ("--quantize", "int8", "--calibration", "random", "-o", quantized_file.parent / "b")
    fails(2, "compile", quantized_file, *options, says=ALREADY, changes=quantized_file.parent)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_bytes_of_the_other_sign_are_compared_as_what_they_are(dtype: str, tmp_path: Path) -> None:
    body = "wd = DequantizeLinear<axis=1>(w, sw, zw)\nr0 = MatMul(ad, wd)\n"
    body += "p = QuantizeLinear(r0, sa, za)\nr1 = DequantizeLinear(p, sa, za)\nr = Softmax(r1)"
    island = Island(body, {"a": (3, 8)}, weight(8, 5, axis=1), inputs=dtype, quantized=False)
    compile(island.model(), "host", tmp_path / "b", threads=1)
    result = verify(tmp_path / "b", island.model(), island.arrays(), per_layer=True)
    assert result.ok
    assert {"aq", "p"} & {error.name for error in result.layers}
    assert all(error.max_abs <= 1 for error in result.layers)
