"""Shapes that users ask for, and names of dimensions."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, parser

from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import PERCEPTRON, imports_in_tvm, node_model, parse, run


def add_model(first: list, second: list):
    """y = a + b for inputs of the given shapes."""
    return node_model("Add", {"a": (TensorProto.FLOAT, first), "b": (TensorProto.FLOAT, second)})


def refused(model: object, shapes: dict) -> str:
    """Read with `shapes`, which must be refused, and return the message."""
    with pytest.raises(UserInputError) as caught:
        read(model, shapes)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_bound_input():
    result = read(parse(PERCEPTRON), {"x": (5, 4)})
    assert str(result.inputs[0]) == "x: float32[5, 4]"
    assert str(result.outputs[0]) == "y: float32[5, 3]"
    assert result.dimensions == {"batch": 5}


def test_bound_dimension_by_name():
    result = read(parse(PERCEPTRON), {"batch": (2,)})
    assert result.inputs[0].shape == (2, 4)


def test_dimension_kept_symbolic():
    result = read(parse(PERCEPTRON))
    assert result.inputs[0].shape == ("batch", 4)
    assert result.outputs[0].shape == ("batch", 3)
    assert imports_in_tvm(result.proto)


def test_dimension_named_by_the_user():
    assert read(parse(PERCEPTRON), {"x": ("rows", 4)}).inputs[0].shape == ("rows", 4)


def test_misspelt_name_gets_near_matches():
    model = add_model(["batch", 4], ["batch", 4])
    model.graph.input[0].name = "pixel_values"
    model.graph.node[0].input[0] = "pixel_values"
    message = refused(model, {"pixel_value": (1, 4)})
    assert "no input or dimension called 'pixel_value'" in message
    assert "did you mean pixel_values" in message


def test_rank_that_contradicts_the_model():
    message = refused(parse(PERCEPTRON), {"x": (1, 4, 1)})
    assert "[1, 4, 1]" in message
    assert "x [batch, 4]" in message


def test_fixed_dimension_that_contradicts_the_model():
    message = refused(parse(PERCEPTRON), {"x": (1, 5)})
    assert "[1, 5]" in message
    assert "x [batch, 4]" in message
    assert "4 where 5 is asked for" in message


@pytest.mark.parametrize("dim", [0, -1, 1.5, True])
def test_dimension_that_is_no_positive_number(dim):
    assert "at least 1" in refused(parse(PERCEPTRON), {"x": (dim, 4)})


@pytest.mark.parametrize("dim", [2**31, 10**20])
def test_dimension_past_32_bits(dim):
    assert f"the dimension {dim}, more than 2147483647" in refused(
        parse(PERCEPTRON), {"x": (dim, 4)}
    )


def test_more_elements_than_32_bits_count():
    message = refused(parse(PERCEPTRON), {"batch": (2**29,)})
    assert "input x [536870912, 4] has 2147483648 elements, more than 2147483647" in message
    assert "--shape x=" in message


def test_numbers_of_numpy():
    result = read(parse(PERCEPTRON), {"x": np.array([5, 4])})  # type: ignore[dict-item]
    assert result.inputs[0].shape == (5, 4)
    assert type(result.inputs[0].shape[0]) is int


@pytest.mark.parametrize(
    "text",
    [
        "<int64[2] s = {-1, 24}> { y = Reshape(x, s) }",
        "<int64[2] s = {-1, 24}, int64[3] t = {-1, 4, 6}> { h = Reshape(x, s) y = Reshape(h, t) }",
    ],
)
def test_a_reshaped_batch_keeps_its_name(text):
    head = '<ir_version: 8, opset_import: ["" : 17]> g (float[batch, 2, 3, 4] x) => (float[N, M] y)'
    model = parser.parse_model(head + text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    result = read(model)
    assert result.outputs[0].shape[0] == "batch"
    x = np.zeros((5, 2, 3, 4), np.float32)
    assert run(result.proto, {"x": x})[0].shape[0] == 5
    assert imports_in_tvm(result.proto)


@pytest.mark.parametrize("target", [[-1, 12], [12, -1], [2, -1]])
def test_a_batch_that_is_split_or_moved_has_another_name(target):
    model = node_model(
        "Reshape",
        {"x": (TensorProto.FLOAT, ["batch", 24])},
        constants={"target": np.array(target, np.int64)},
    )
    result = read(model)
    assert "batch" not in result.outputs[0].shape
    x = np.zeros((2, 24), np.float32)
    assert run(result.proto, {"x": x})[0].shape == run(model, {"x": x})[0].shape


def test_one_name_with_two_numbers():
    message = refused(add_model(["n"], ["n"]), {"a": (2,), "b": (3,)})
    assert "dimension 'n' is 2" in message
    assert "3" in message


def test_one_name_binds_every_input():
    result = read(add_model(["n", 1], ["n", 4]), {"a": (2, 1)})
    assert result.inputs[1].shape == (2, 4)


def test_dimension_takes_one_value():
    assert "takes one value" in refused(parse(PERCEPTRON), {"batch": (1, 2)})


def test_shapes_that_the_network_cannot_take():
    message = refused(add_model(["n"], ["m"]), {"a": (2,), "b": (3,)})
    assert "do not fit the network" in message
    assert "Add" in message


@pytest.mark.parametrize("name", ["a+b", "s - 1", "n*2", "n/2", "seq.len", "0th"])
def test_names_that_the_importer_reads_as_arithmetic_are_renamed(name):
    result = read(node_model("Relu", {"x": (TensorProto.FLOAT, [name, 3])}))
    symbol = result.inputs[0].shape[0]
    assert isinstance(symbol, str)
    assert symbol.isidentifier()
    assert result.dimensions == {name: symbol}
    assert imports_in_tvm(result.proto)


def test_two_names_that_look_alike_stay_apart():
    shape = read(add_model(["a+b"], ["a-b"])).inputs
    assert shape[0].shape != shape[1].shape


@pytest.mark.parametrize("unnamed", ["", "?", "-1", "None", -1])
def test_unnamed_dimensions_are_not_equal(unnamed):
    result = read(add_model([unnamed, 1], [unnamed, 4]))
    (first, _), (second, _) = (spec.shape for spec in result.inputs)
    assert isinstance(first, str)
    assert isinstance(second, str)
    assert first != second
    assert imports_in_tvm(result.proto)


def test_an_empty_dimension_is_one_unless_the_user_knows_better():
    model = node_model(
        "Concat", {"x": (TensorProto.FLOAT, [0, 2]), "z": (TensorProto.FLOAT, [3, 2])}, axis=0
    )
    assert read(model).inputs[0].shape == (0, 2)
    assert read(model).outputs[0].shape == (3, 2)
    bound = read(model, {"x": (4, 2)})
    assert bound.inputs[0].shape == (4, 2)
    assert bound.outputs[0].shape == (7, 2)


def test_input_of_unknown_rank_needs_a_shape():
    model = node_model("Relu", {"x": (TensorProto.FLOAT, None)})
    message = refused(model, {})
    assert "'x'" in message
    assert "--shape" in message
    assert read(model, {"x": (2, 3)}).outputs[0].shape == (2, 3)


def test_old_shapes_of_intermediate_tensors_do_not_survive():
    model = parse(PERCEPTRON)
    stale = model.graph.value_info.add(name="hidden")
    stale.type.tensor_type.elem_type = TensorProto.FLOAT
    for size in (7, 3):
        stale.type.tensor_type.shape.dim.add().dim_value = size
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 7
    result = read(model, {"x": (2, 4)})
    hidden = next(v for v in result.proto.graph.value_info if v.name == "hidden")
    assert [d.dim_value for d in hidden.type.tensor_type.shape.dim] == [2, 3]
    assert result.outputs[0].shape == (2, 3)
