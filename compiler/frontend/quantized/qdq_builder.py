"""Make the nodes that stand for one quantized node: dequantize, compute on floats, quantize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import FreshNames
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore

if TYPE_CHECKING:
    import numpy as np
    import onnx


class QdqBuilder:
    """Collects the nodes that take the place of one node.

    Attributes
    ----------
    context
        The node with the types of what it reads.
    constants
        Every value that is known, detached weights included.
    opset
        Version of the default operator set.
    made
        The nodes so far, in order.
    """

    def __init__(
        self, context: NodeContext, constants: ConstantStore, fresh: FreshNames, opset: int
    ) -> None:
        self.opset = opset
        self.context = context
        self.node = context.node
        self.constants = constants
        self.made: list[onnx.NodeProto] = []
        self._fresh = fresh

    def input(self, index: int) -> str:
        """Return the name of an input; empty where it is left out."""
        return self.node.input[index] if self.context.has_input(index) else ""

    def dequantize(self, tensor: int, scale: int, zero: int, axis: int | None = None) -> str:
        """Dequantize the input number `tensor` by the inputs `scale` and `zero`.

        Where the scale is a vector, it goes along `axis`.
        """
        return self.dequantize_by(
            self.input(tensor), self.input(scale), self.input(zero), axis=axis
        )

    def dequantize_by(self, tensor: str, scale: str, zero: str, axis: int | None = None) -> str:
        """Like :meth:`dequantize`, by names; `zero` may be empty."""
        parameters = self.parameters(scale, zero)
        attributes = {} if axis is None or self.is_scalar(scale) else {"axis": axis}
        return self.add("DequantizeLinear", tensor, *parameters, label=tensor, **attributes)

    def quantize(self, tensor: str, scale: int, zero: int, axis: int | None = None) -> None:
        """Quantize `tensor` to the node's output by the inputs `scale` and `zero`."""
        attributes = {} if axis is None or self.is_scalar(self.input(scale)) else {"axis": axis}
        zero_name = self.input(zero) or self._default_zero()
        parameters = self.parameters(self.input(scale), zero_name)
        name = self._fresh.take(f"{self.node.name}/QuantizeLinear")
        self._append("QuantizeLinear", [tensor, *parameters], self.node.output[0], name, attributes)

    def compute(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """Add the node on floats, which keeps the node's name; return its output."""
        output = self._fresh.take(f"{self.node.name}/float")
        self._append(op_type, list(inputs), output, self.node.name, attributes)
        return output

    def add(self, op_type: str, *inputs: str, label: str = "", **attributes: Any) -> str:
        """Add a helping node and return its output."""
        name = self._fresh.take("/".join(filter(None, (self.node.name, label, op_type))))
        self._append(op_type, list(inputs), name, name, attributes)
        return name

    def add_dynamic_quantize(self, tensor: str) -> tuple[str, str, str]:
        """Add a DynamicQuantizeLinear; return its three outputs: values, scale and zero point."""
        from onnx import helper

        name = self._fresh.take(f"{self.node.name}/DynamicQuantizeLinear")
        ends = ("quantized", "scale", "zero_point")
        outputs = tuple(self._fresh.take(f"{name}/{end}") for end in ends)
        self.made.append(helper.make_node("DynamicQuantizeLinear", [tensor], outputs, name=name))
        return outputs[0], outputs[1], outputs[2]

    def name_output(self) -> None:
        """Let the last node that was added make the node's output."""
        self.made[-1].output[0] = self.node.output[0]

    def constant(self, value: np.ndarray, label: str) -> str:
        """Add a constant and return its name."""
        name = self._fresh.take(f"{self.node.name}/{label}")
        self.constants.put(name, value)
        return name

    def kept_attributes(self, *dropped: str) -> dict[str, Any]:
        """Return the node's attributes but `dropped`."""
        from onnx import helper

        return {
            attribute.name: helper.get_attribute_value(attribute)
            for attribute in self.node.attribute
            if attribute.name not in dropped
        }

    def is_scalar(self, name: str) -> bool:
        """Say whether a scale or zero point is known to be one number."""
        shape = self.constants.shape(name)
        return shape in ((), (1,))

    def product(self, left: str, right: str) -> str:
        """Return the product of two scales in their own precision."""
        known = self.constants.value(left), self.constants.value(right)
        if known[0] is None or known[1] is None:
            return self.add("Mul", left, right)
        product = (known[0].reshape(-1) * known[1].reshape(-1)).astype(known[0].dtype)
        return self.constant(product.reshape(()) if product.size == 1 else product, "scale")

    def parameters(self, scale: str, zero: str) -> list[str]:
        """Return scale and zero point in the shapes that the standard operators want."""
        inputs = [self._as_scalar(scale)]
        if zero:
            inputs.append(self._like_scale(self._as_scalar(zero), inputs[0]))
        return inputs

    def _as_scalar(self, name: str) -> str:
        value = self.constants.value(name)
        if value is None or value.shape != (1,):
            return name
        return self.constants.once(f"{name}/scalar", value.reshape(()), self._fresh)

    def _like_scale(self, zero: str, scale: str) -> str:
        """Spread one zero point over the channels of a vector of scales."""
        import numpy as np

        value, shape = self.constants.value(zero), self.constants.shape(scale)
        if value is None or not shape or value.shape == shape or value.size != 1:
            return zero
        spread = np.full(shape, value.reshape(()), value.dtype)
        return self.constants.once(f"{zero}/spread{shape[0]}", spread, self._fresh)

    def _default_zero(self) -> str:
        """Add a zero point of 0 of the type of the first input; the standard's default is uint8."""
        import numpy as np
        from onnx import helper

        elem_type = self.context.types[self.input(0)].tensor_type.elem_type
        return self.constant(np.zeros((), helper.tensor_dtype_to_np_dtype(elem_type)), "zero_point")

    def _append(
        self, op_type: str, inputs: list[str], output: str, name: str, attributes: dict[str, Any]
    ) -> None:
        from onnx import helper

        self.made.append(helper.make_node(op_type, inputs, [output], name=name, **attributes))
