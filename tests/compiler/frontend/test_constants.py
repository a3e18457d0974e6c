"""Every form of constant becomes a dense initializer that no input names."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.read import read
from tests.compiler.models import PERCEPTRON, imports_in_tvm, operators, parse, run


def constant_model(**value: Any) -> onnx.ModelProto:
    """y = x + constant."""
    nodes = [
        helper.make_node("Constant", [], ["c"], **value),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "add_constant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_initializers_that_are_also_inputs_are_constants():
    model = parse(PERCEPTRON)
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    model.ir_version = 3
    result = read(model)
    assert [spec.name for spec in result.inputs] == ["x"]
    assert [value.name for value in result.proto.graph.input] == ["x"]
    assert any("as constants: w, b" in note for note in result.notes)
    assert result.proto.ir_version >= 4
    assert imports_in_tvm(result.proto)


def test_float_attributes_of_constant_nodes():
    model = constant_model(value_floats=[1.0, 2.0, 3.0])
    constant_nodes_to_initializers(model)
    assert operators(model) == ["Add"]
    assert run(model, {"x": np.zeros(3, np.float32)})[0].tolist() == [1.0, 2.0, 3.0]


def test_sparse_constants_are_written_out():
    values = numpy_helper.from_array(np.array([5.0], np.float32))
    indices = numpy_helper.from_array(np.array([1], np.int64))
    sparse = helper.make_sparse_tensor(values, indices, [3])
    model = constant_model(sparse_value=sparse)
    constant_nodes_to_initializers(model)
    tensor = model.graph.initializer[0]
    assert numpy_helper.to_array(tensor).tolist() == [0.0, 5.0, 0.0]


def test_constant_that_is_an_output_keeps_its_producer():
    model = constant_model(value_floats=[1.0, 2.0, 3.0])
    model.graph.output.append(helper.make_tensor_value_info("c", TensorProto.FLOAT, [3]))
    result = read(model)
    assert [spec.name for spec in result.outputs] == ["y", "c"]
    y, c = run(result.proto, {"x": np.ones(3, np.float32)})
    assert c.tolist() == [1.0, 2.0, 3.0]
    assert y.tolist() == [2.0, 3.0, 4.0]
    assert imports_in_tvm(result.proto)
