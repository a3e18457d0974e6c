"""A node with what is known about its tensors: what rules and rewrites look at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.dtypes import dtype_label
from autoglm_tvm.compiler.frontend.graph import attribute
from autoglm_tvm.compiler.frontend.infer import static_shape

if TYPE_CHECKING:
    import numpy as np
    import onnx


@dataclass(frozen=True)
class NodeContext:
    """A node with what is known about the tensors it reads.

    Attributes
    ----------
    types
        Types by tensor name; see :func:`~autoglm_tvm.compiler.frontend.infer.tensor_types`.
    constants
        Tensors whose value is known, by name.
    producers
        The node that makes each tensor of the same graph; rewrites follow shape arithmetic by it.
    """

    node: onnx.NodeProto
    types: dict[str, onnx.TypeProto] = field(default_factory=dict)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    producers: dict[str, onnx.NodeProto] = field(default_factory=dict)

    def attribute(self, name: str, default: Any) -> Any:
        """Return the value of an attribute, strings decoded."""
        return attribute(self.node, name, default)

    def has_input(self, index: int) -> bool:
        """Say whether the optional input is given."""
        return len(self.node.input) > index and bool(self.node.input[index])

    def has_output(self, index: int) -> bool:
        """Say whether the optional output is asked for."""
        return len(self.node.output) > index and bool(self.node.output[index])

    def is_constant(self, index: int) -> bool:
        """Say whether the input is given and its value is known."""
        return self.has_input(index) and self.node.input[index] in self.constants

    def constant(self, index: int) -> np.ndarray | None:
        """Return the value of an input where it is known and not empty."""
        from onnx import numpy_helper

        if not self.is_constant(index):
            return None
        value = numpy_helper.to_array(self.constants[self.node.input[index]])
        return value if value.size else None

    def dtype(self, index: int) -> str | None:
        """Return ONNX's name of an input's element type in lower case; None where unknown."""
        known = self.types.get(self.node.input[index]) if self.has_input(index) else None
        if known is None or not known.tensor_type.elem_type:
            return None
        return dtype_label(known.tensor_type.elem_type)

    def shape(self, index: int) -> tuple[int | None, ...] | None:
        """Return an input's shape, None for unknown dimensions; None for unknown rank."""
        if not self.has_input(index):
            return None
        return static_shape(self.types.get(self.node.input[index]))
