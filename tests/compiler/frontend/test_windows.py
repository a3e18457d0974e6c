"""Images that a network shrinks to nothing."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto

from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import node_model


def pool(**attributes: Any):
    """MaxPool by 2 of an image of symbolic size."""
    image = {"x": (TensorProto.FLOAT, [1, 2, "h", "w"])}
    return node_model("MaxPool", image, kernel_shape=[2, 2], strides=[2, 2], **attributes)


def test_a_window_larger_than_its_input_is_refused():
    with pytest.raises(UserInputError) as caught:
        read(pool(), {"x": (1, 2, 1, 8)})
    message = str(caught.value)
    assert "node 'the_node' (MaxPool) leaves nothing of its input 'x' [1, 2, 1, 8]" in message
    assert "give a larger shape with --shape" in message


@pytest.mark.parametrize(
    "attributes", [{"pads": [0, 0, 1, 0]}, {"auto_pad": "SAME_UPPER"}, {"ceil_mode": 1}]
)
def test_a_padded_window_fits(attributes):
    assert read(pool(**attributes), {"x": (1, 2, 1, 8)}).outputs[0].shape == (1, 2, 1, 4)
    assert read(pool(), {"x": (1, 2, 2, 8)}).outputs[0].shape == (1, 2, 1, 4)


def test_a_resize_to_nothing_is_refused():
    import numpy as np

    model = node_model(
        "Resize",
        {"x": (TensorProto.FLOAT, [1, 2, "h", 8])},
        constants={"scales": np.array([1, 1, 0.5, 0.5], np.float32)},
        arguments=["x", "", "scales"],
        opset=18,
        mode="linear",
    )
    with pytest.raises(UserInputError, match="is empty"):
        read(model, {"h": (1,)})
    assert read(model, {"h": (2,)}).outputs[0].shape == (1, 2, 1, 4)
