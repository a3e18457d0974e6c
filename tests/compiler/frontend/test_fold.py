"""Folding, and what happens when a tool fails or lies."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autoglm_tvm.compiler.frontend.equivalence import Comparison, compare
from autoglm_tvm.compiler.frontend.fold import FOLDERS, fold_constants
from autoglm_tvm.compiler.frontend.graph import walk_nodes
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.read import read
from tests.compiler.models import FLATTEN, PERCEPTRON, imports_in_tvm, operators, parse, run, save

EACH_FOLDER = pytest.mark.parametrize("folder", FOLDERS, ids=[name for name, _ in FOLDERS])


def flatten_model() -> onnx.ModelProto:
    """The shape arithmetic of FLATTEN with every dimension known."""
    model = parse(FLATTEN)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    infer_shapes(model)
    return model


@EACH_FOLDER
def test_shape_arithmetic_is_folded(folder):
    model = flatten_model()
    fold_constants(model, {}, folders=(folder,))
    assert operators(model) == ["Reshape"]
    x = np.arange(30, dtype=np.float32).reshape(5, 2, 3)
    assert run(model, {"x": x})[0].shape == (5, 6)


@EACH_FOLDER
def test_nothing_is_fused_and_names_stay(folder):
    model = parse(PERCEPTRON)
    fold_constants(model, {}, folders=(folder,))
    assert operators(model) == ["MatMul", "Add", "Relu"]
    assert [node.output[0] for node in model.graph.node] == ["hidden", "sum", "y"]


@EACH_FOLDER
def test_interface_survives(folder):
    """An unused input stays, outputs keep name and order, one becomes a constant."""
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] unused, float[2] x) => (float[2] fixed, float[2] y, float[2] copy)
        <float[2] a = {1, 2}, float[2] b = {3, 4}>
        {
          fixed = Add(a, b)
          y = Add(x, fixed)
          copy = Identity(x)
        }
        """
    )
    fold_constants(model, {}, folders=(folder,))
    assert [value.name for value in model.graph.input] == ["unused", "x"]
    assert [value.name for value in model.graph.output] == ["fixed", "y", "copy"]
    x = np.array([1, 1], np.float32)
    fixed, y, copy = run(model, {"unused": x, "x": x})
    assert fixed.tolist() == [4.0, 6.0]
    assert y.tolist() == [5.0, 7.0]
    assert copy.tolist() == [1.0, 1.0]
    assert imports_in_tvm(model)


def test_symbolic_dimensions_stay():
    result = read(parse(FLATTEN))
    assert result.inputs[0].shape[0] == "n"
    for rows in (1, 3):
        x = np.zeros((rows, 2, 3), np.float32)
        assert run(result.proto, {"x": x})[0].shape == (rows, 6)
    assert imports_in_tvm(result.proto)


def test_branches_with_a_known_condition_are_chosen():
    result = read(
        parse(
            """
            <ir_version: 8, opset_import: ["" : 17]>
            g (float[2] x) => (float[2] y)
            {
              c = Constant<value = bool {1}>()
              y = If (c) <
                then_branch = t () => (float[2] a) { a = Relu(x) },
                else_branch = e () => (float[2] b) { b = Neg(x) }
              >
            }
            """
        )
    )
    assert [node.op_type for _, node in walk_nodes(result.proto.graph)] == ["Relu"]


def failing(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that cannot read the model."""
    raise RuntimeError("cannot read this\nat all")


def lying(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that changes what the model computes."""
    model.graph.node[-1].op_type = "Neg"
    return model


def rounding(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that changes a constant."""
    model.graph.initializer[1].float_data[0] += 0.25
    return model


def fusing(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that brings in an operator of its own."""
    model.graph.node[-1].domain = "com.microsoft"
    return model


def losing(model: onnx.ModelProto) -> onnx.ModelProto:
    """A tool that drops an output."""
    del model.graph.node[-1]
    return model


@pytest.mark.parametrize(
    ("tool", "reason"),
    [
        (failing, "cannot read this"),
        (lying, "ai.onnx::Neg"),
        (rounding, "changed the values of output 'y'"),
        (fusing, "com.microsoft::Relu"),
        (losing, "lost the output 'y'"),
    ],
)
def test_a_tool_that_fails_is_passed_over(tool, reason):
    model = parse(PERCEPTRON)
    before = model.SerializeToString(deterministic=True)
    notes = fold_constants(model, {}, folders=(("tool", tool),))
    assert model.SerializeToString(deterministic=True) == before
    assert notes[0].startswith("tool was not used")
    assert reason in notes[0]
    assert "unfolded" in notes[-1]


def test_the_next_tool_is_tried():
    model = flatten_model()
    notes = fold_constants(model, {}, folders=(("tool", failing), *FOLDERS))
    assert operators(model) == ["Reshape"]
    assert notes[0] == "tool was not used for folding: cannot read this"
    assert "onnxslim folded" in notes[1]


def test_difference_of_results_is_seen():
    before, after = parse(PERCEPTRON), parse(PERCEPTRON)
    assert compare(before, after, {}) == Comparison()
    after.graph.initializer[1].float_data[0] += 1
    assert "output 'y'" in str(compare(before, after, {}).difference)


def test_difference_uses_detached_weights():
    before = parse(PERCEPTRON)
    weight = before.graph.initializer.pop(0)
    before.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, weight.dims))
    weights = {"w": np.ones((4, 3), np.float32)}
    assert compare(before, before, weights) == Comparison()


def test_difference_is_seen_in_models_newer_than_onnxruntime():
    before, after = parse(PERCEPTRON), parse(PERCEPTRON)
    before.ir_version = after.ir_version = onnx.IR_VERSION + 1
    after.graph.initializer[1].float_data[0] += 1
    assert "output 'y'" in str(compare(before, after, {}).difference)
    assert before.ir_version == onnx.IR_VERSION + 1


@EACH_FOLDER
def test_a_new_ir_version_is_folded_and_kept(folder):
    model = flatten_model()
    model.ir_version = onnx.IR_VERSION
    notes = fold_constants(model, {}, folders=(folder,))
    assert operators(model) == ["Reshape"]
    assert model.ir_version == onnx.IR_VERSION
    assert not any("compared" in note for note in notes)


def test_a_network_that_needs_larger_images_is_compared():
    """Eight pixels are too few for the matrix, thirty-two are right."""
    text = """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[n] x) => (float[m] y) <float[32] b = {%s}> { y = Add(x, b) }
    """
    before, after = (parse(text % ", ".join([number] * 32)) for number in "12")
    assert "output 'y'" in str(compare(before, after, {}).difference)


def test_what_could_not_be_compared_is_said():
    model = parse(FLATTEN)
    model.opset_import[0].version = 999
    reason = compare(model, model, {}).not_compared
    assert reason is not None
    assert "onnxruntime refuses the model" in reason

    def random(model: onnx.ModelProto) -> onnx.ModelProto:
        model.graph.node[0].doc_string = "folded"
        return model

    drawn = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[2] x) => (float[2] y) { r = RandomNormalLike(x) y = Add(x, r) }
        """
    )
    notes = fold_constants(drawn, {}, folders=(("tool", random),))
    assert notes == [
        "what tool folded was not compared with the original: the model draws random numbers"
    ]


HASH = """
import hashlib, sys
from autoglm_tvm.compiler.read import read
result = read(sys.argv[1], {"n": (5,)})
print(hashlib.sha256(result.proto.SerializeToString(deterministic=True)).hexdigest())
"""


def test_the_same_bytes_in_every_process(tmp_path):
    path = save(parse(FLATTEN), tmp_path)
    digests = {
        subprocess.run(
            [sys.executable, "-c", HASH, str(path)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
