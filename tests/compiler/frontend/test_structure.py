"""Graphs that are no graphs: names twice, names nowhere, cycles, wrong order."""

from __future__ import annotations

import pytest
from onnx import helper

from autoglm_tvm.compiler.frontend.structure import check_structure, name_nodes
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import PERCEPTRON, operators, parse


def refused(model: object) -> str:
    """Check `model`, which must be refused, and return the message."""
    name_nodes(model)  # type: ignore[arg-type]
    with pytest.raises(UserInputError) as caught:
        check_structure(model, "model.onnx")  # type: ignore[arg-type]
    return str(caught.value)


def test_two_producers_of_one_tensor():
    model = parse(PERCEPTRON)
    model.graph.node[1].output[0] = "hidden"
    message = refused(model)
    assert "two tensors have the name 'hidden'" in message
    assert "MatMul" in message
    assert "Add" in message


def test_node_that_overwrites_an_input():
    model = parse(PERCEPTRON)
    model.graph.node[0].output[0] = "x"
    assert "'x': graph input and node" in refused(model)


def test_output_listed_twice():
    model = parse(PERCEPTRON)
    model.graph.output.append(model.graph.output[0])
    assert "graph output 'y' of the graph is listed twice" in refused(model)


def test_dangling_input_names_node_tensor_and_near_names():
    model = parse(PERCEPTRON)
    model.graph.node[1].input[0] = "hiden"
    model.graph.node[1].name = "bias"
    message = refused(model)
    assert "node 'bias' (Add) reads 'hiden'" in message
    assert "near names: hidden" in message


def test_dangling_graph_output():
    model = parse(PERCEPTRON)
    model.graph.output[0].name = "z"
    assert "output 'z'" in refused(model)


def test_dangling_name_inside_a_branch():
    model = parse(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        choose (bool c, float[2] x) => (float[2] y)
        {
          y = If (c) <
            then_branch = t () => (float[2] a) { a = Relu(x) },
            else_branch = e () => (float[2] b) { b = Neg(x) }
          >
        }
        """
    )
    branch = next(a for a in model.graph.node[0].attribute if a.name == "else_branch")
    branch.g.node[0].input[0] = "nowhere"
    message = refused(model)
    assert "reads 'nowhere'" in message
    assert "else_branch" in message


def test_cycle():
    model = parse(PERCEPTRON)
    model.graph.node[0].input[0] = "sum"
    message = refused(model)
    assert "cycle" in message
    assert "MatMul" in message
    assert "Add" in message


def test_nodes_out_of_order_are_sorted():
    model = parse(PERCEPTRON)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert operators(model) == ["Relu", "Add", "MatMul"]
    notes = check_structure(model, "model.onnx")
    assert operators(model) == ["MatMul", "Add", "Relu"]
    assert len(notes) == 1


def test_nodes_without_a_name_get_one_each():
    model = parse(PERCEPTRON)
    model.graph.node.append(helper.make_node("Relu", ["y"], ["z"], domain="ai.onnx"))
    name_nodes(model)
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert {node.domain for node in model.graph.node} == {""}
