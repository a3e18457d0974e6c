"""Small models written as ONNX text, with random weights of a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper


def model_from_text(
    text: str, weights: Mapping[str, np.ndarray] | None = None, opset: int = 18
) -> onnx.ModelProto:
    """Return the checked model of one graph in ONNX's textual syntax.

    ``weights`` become initializers; the text uses their names without declaring them.
    """
    graph = onnx.parser.parse_graph(text)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in (weights or {}).items()
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def random_array(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Return a normal float32 array of a fixed seed."""
    rng = np.random.default_rng((seed, *shape))
    return (scale * rng.standard_normal(shape)).astype(np.float32)
