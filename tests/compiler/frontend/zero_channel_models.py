"""How channels are dropped from models in tests, and what is checked each time."""

from __future__ import annotations

import numpy as np
import onnx

from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.frontend.zero_channels import drop_zero_channels
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.onnx_text import model_from_text, random_array

Weights = dict[str, np.ndarray]


def named_model(text: str, weights: Weights, opset: int = 18) -> onnx.ModelProto:
    """Return a model whose nodes are called as what they make."""
    model = model_from_text(text, weights, opset)
    for node in model.graph.node:
        node.name = node.output[0]
    infer_shapes(model)
    return model


def layer_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Shape of the constant that stands in the second place of each node."""
    values = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return {
        node.name: values[node.input[1]]
        for node in model.graph.node
        if len(node.input) > 1 and node.input[1] in values
    }


def drop_and_compare(
    text: str, weights: Weights, *, exact: bool = False
) -> tuple[onnx.ModelProto, list[str]]:
    """Drop channels, check that the outputs are the same, and that nothing is left to drop."""
    model = named_model(text, weights)
    inputs = {
        value.name: random_array(*(d.dim_value for d in value.type.tensor_type.shape.dim))
        for value in model.graph.input
    }
    expected = run_reference(model, inputs)
    notes = drop_zero_channels(model, {})
    onnx.checker.check_model(model, full_check=True)
    found = run_reference(model, inputs)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        if exact:
            np.testing.assert_array_equal(found[name], value)
        else:
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5)
    if notes:
        assert drop_zero_channels(model, {}) == []
    return model, notes
