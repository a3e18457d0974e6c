"""Small ONNX models, written as ONNX text, and how the tests run them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper, parser
from onnx.reference import ReferenceEvaluator

#: A perceptron with a free batch: weights inside, one Relu.
PERCEPTRON = """
<ir_version: 8, opset_import: ["" : 17]>
perceptron (float[batch, 4] x) => (float[batch, 3] y)
<float[4, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, float[3] b = {0.5, -0.5, 1}>
{
  hidden = MatMul(x, w)
  sum = Add(hidden, b)
  y = Relu(sum)
}
"""

#: Shape arithmetic as exporters write it: flatten everything after the batch.
FLATTEN = """
<ir_version: 8, opset_import: ["" : 17]>
flatten (float[n, 2, 3] x) => (float[n, k] y)
{
  shape = Shape(x)
  zero = Constant<value_ints = [0]>()
  one = Constant<value_ints = [1]>()
  batch = Slice(shape, zero, one)
  rest = Constant<value_ints = [-1]>()
  target = Concat<axis = 0>(batch, rest)
  y = Reshape(x, target)
}
"""


def parse(text: str) -> onnx.ModelProto:
    """Parse ONNX text and check it."""
    model = parser.parse_model(text)
    onnx.checker.check_model(model)
    return model


def node_model(
    op_type: str,
    inputs: Mapping[str, tuple[int, Sequence[int | str] | None]],
    *,
    constants: dict[str, np.ndarray] | None = None,
    arguments: list[str] | None = None,
    outputs: tuple[str, ...] = ("y",),
    output_type: int = onnx.TensorProto.FLOAT,
    opset: int = 17,
    domain: str = "",
    **attributes: Any,
) -> onnx.ModelProto:
    """Make a model of one node: inputs as (element type, shape), constants as initializers."""
    constants = constants or {}
    given = arguments if arguments is not None else [*inputs, *constants]
    node = helper.make_node(
        op_type, given, list(outputs), name="the_node", domain=domain, **attributes
    )
    graph = helper.make_graph(
        [node],
        "one_node",
        [helper.make_tensor_value_info(n, t, s) for n, (t, s) in inputs.items()],
        [helper.make_tensor_value_info(name, output_type, None) for name in outputs if name],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", opset)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model into `folder` and return its path."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[Any]:
    """Run a model in onnxruntime, or in onnx's own reference where its opset is too new for it."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        if "Opset" not in str(error):
            raise
        return list(ReferenceEvaluator(model).run(None, feeds))
    used = {value.name for value in session.get_inputs()}
    return list(session.run(None, {k: v for k, v in feeds.items() if k in used}))


def operators(model: onnx.ModelProto) -> list[str]:
    """Return the operators of the main graph in order."""
    return [node.op_type for node in model.graph.node]


def imports_in_tvm(model: onnx.ModelProto) -> bool:
    """Import a model with TVM; raise what the importer raises."""
    from tvm.relax.frontend import onnx as frontend

    importer: Any = frontend.from_onnx  # its annotation says GraphProto, it takes a ModelProto
    return importer(model) is not None
