"""The read stage as a whole."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import FLATTEN, PERCEPTRON, node_model, operators, parse, run, save


def test_what_is_read(tmp_path):
    path = save(parse(PERCEPTRON), tmp_path)
    result = read(str(path), {"x": (2, 4)})
    assert result.inputs == (TensorSpec("x", "float32", (2, 4)),)
    assert result.outputs == (TensorSpec("y", "float32", (2, 3)),)
    assert result.opset == 17
    assert result.source_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert not result.weights
    x = np.ones((2, 4), np.float32)
    expected = run(parse(PERCEPTRON), {"x": x})
    np.testing.assert_array_equal(run(result.proto, {"x": x})[0], expected[0])


def test_summary_says_what_was_done():
    text = str(read(parse(FLATTEN), {"n": (5,)}))
    assert "input  x: float32[5, 2, 3]" in text
    assert "dimension n = 5" in text
    assert "Reshape 1" in text
    assert "note: onnxslim folded" in text


def test_dump(tmp_path):
    result = read(parse(PERCEPTRON))
    model, text = result.dump(tmp_path / "new" / "folder")
    assert model.read_bytes() == result.proto.SerializeToString(deterministic=True)
    assert "MatMul 1" in text.read_text(encoding="utf-8")


def test_a_model_in_memory_is_not_changed():
    model = parse(FLATTEN)
    before = model.SerializeToString(deterministic=True)
    read(model, {"n": (5,)})
    assert model.SerializeToString(deterministic=True) == before


def test_the_same_bytes_twice():
    first, second = (read(parse(FLATTEN), {"n": (5,)}).proto for _ in range(2))
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_order_of_inputs_and_outputs_with_detached_weights():
    model = node_model(
        "Gemm",
        {"a": (TensorProto.FLOAT, [1, 64])},
        constants={"w": np.ones((64, 8), np.float32), "b": np.ones(8, np.float32)},
    )
    model.graph.input.append(helper.make_tensor_value_info("spare", TensorProto.FLOAT, ["k"]))
    result = read(model, detach_above=0)
    assert [spec.name for spec in result.inputs] == ["a", "spare"]
    assert [value.name for value in result.proto.graph.input] == ["a", "spare", "w"]
    assert list(result.weights) == ["w"]


def test_declared_output_shapes_fill_in_what_inference_lacks():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[6] x, int64[2] target) => (float[2, 3] y) { y = Reshape(x, target) }
        """
    )
    assert read(model).outputs[0].shape == (2, 3)


def test_unknown_output_dimensions_have_names_of_their_own():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n] x, int64[2] target) => (float[n, m] y) { y = Reshape(x, target) }
        """
    )
    first, second = read(model).outputs[0].shape
    assert isinstance(first, str)
    assert isinstance(second, str)
    assert len({first, second, "n"}) == 3


def test_invalid_node_is_one_message():
    model = node_model("TopK", {"x": (TensorProto.FLOAT, [5])}, outputs=("y", "i"))
    model.graph.node[0].output.append("third")
    with pytest.raises(UserInputError, match="not valid"):
        read(model)


def test_nodes_without_names():
    model = parse(PERCEPTRON)
    for node in model.graph.node:
        node.name = ""
    assert operators(read(model).proto) == ["MatMul", "Add", "Relu"]


def test_nothing_heavy_is_imported():
    code = (
        "import sys, autoglm_tvm.compiler.read, autoglm_tvm.compiler.frontend.fold;"
        "heavy = {'tvm', 'onnx', 'onnxruntime', 'onnxslim', 'numpy'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
