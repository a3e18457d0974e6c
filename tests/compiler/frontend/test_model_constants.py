"""Constants of a read model, inside its graph or detached, and models made of rewritten graphs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autoglm_tvm.compiler.frontend.model_constants import (
    as_read_model,
    with_weights,
)
from autoglm_tvm.compiler.read import ReadModel, read
from tests.compiler.models import run
from tests.compiler.onnx_text import model_from_text, random_array

WEIGHTS = {"w": random_array(32, 32), "b": random_array(32, seed=1)}
TEXT = "g (float[n, 32] x) => (float[n, 32] y) { h = MatMul(x, w)  y = Add(h, b) }"


def detached() -> ReadModel:
    """A linear layer whose weight is detached, and whose bias is not."""
    return read(model_from_text(TEXT, WEIGHTS), detach_above=64)


def copy_of(model: ReadModel) -> onnx.ModelProto:
    """The graph, to be rewritten."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return proto


def test_a_self_contained_copy_has_no_weights_among_its_inputs() -> None:
    model = detached()
    proto = with_weights(model)
    assert [value.name for value in proto.graph.input] == ["x"]
    assert [value.name for value in model.proto.graph.input] == ["x", "w"]
    x = random_array(3, 32, seed=2)
    (found,) = run(proto, {"x": x})
    np.testing.assert_allclose(found, x @ WEIGHTS["w"] + WEIGHTS["b"], rtol=1e-4, atol=1e-4)


def test_weights_stay_detached_and_unused_ones_are_dropped() -> None:
    model = detached()
    kept = as_read_model(model, copy_of(model), ("changed nothing",))
    assert kept.weights["w"] is model.weights["w"]
    assert kept.notes[-1] == "changed nothing"
    proto = copy_of(model)
    proto.graph.node[0].CopyFrom(onnx.helper.make_node("Relu", ["x"], ["h"], name="relu"))
    changed = as_read_model(model, proto)
    assert changed.weights == {}
    assert [value.name for value in changed.proto.graph.input] == ["x"]
    assert changed.inputs == model.inputs


def test_a_self_contained_graph_is_taken_back() -> None:
    model = detached()
    again = as_read_model(model, with_weights(model))
    assert again.weights == {}
    assert {tensor.name for tensor in again.proto.graph.initializer} == {"w", "b"}


def test_a_large_new_constant_is_detached(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoglm_tvm.compiler.frontend.weights.DETACH_ABOVE", 4096)
    model = read(model_from_text(TEXT, WEIGHTS), detach_above=1 << 30)
    proto = copy_of(model)
    proto.graph.initializer.append(numpy_helper.from_array(2 * WEIGHTS["w"], "twice"))
    proto.graph.node[0].input[1] = "twice"
    changed = as_read_model(model, proto)
    assert list(changed.weights) == ["twice"]
    x = random_array(3, 32, seed=2)
    (found,) = run(changed.proto, {"x": x, **changed.weights})
    np.testing.assert_allclose(found, 2 * x @ WEIGHTS["w"] + WEIGHTS["b"], rtol=1e-4, atol=1e-4)


def test_types_are_inferred_anew() -> None:
    model = detached()
    proto = copy_of(model)
    proto.graph.node[1].input[0] = "r"
    proto.graph.node.insert(1, onnx.helper.make_node("Relu", ["h"], ["r"], name="relu"))
    types = {value.name: value for value in as_read_model(model, proto).proto.graph.value_info}
    assert types["r"].type.tensor_type.shape.dim[1].dim_value == 32


@pytest.mark.parametrize("what", ["input", "output"])
def test_another_interface_is_a_defect(what: str) -> None:
    model = detached()
    proto = copy_of(model)
    values = proto.graph.input if what == "input" else proto.graph.output
    values.append(onnx.helper.make_tensor_value_info("h", onnx.TensorProto.FLOAT, None))
    with pytest.raises(ValueError, match=f"other {what}s"):
        as_read_model(model, proto)
