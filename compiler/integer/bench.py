"""The graph at work: the Q/DQ model as it was, and the integer model as it grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.dtypes import numpy_dtype
from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    attributes,
    captured_names,
    default_opset,
    input_names,
)
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.integer.quantization import Quantization, Quantized

if TYPE_CHECKING:
    import numpy as np
    import onnx

# What DequantizeLinear takes that rules can use; int32 is for biases.
_INTEGERS = ("uint8", "int8", "int32", "int4", "uint4")


class Bench:
    """The model that rules read, and the nodes and constants that they make.

    Attributes
    ----------
    graph
        The Q/DQ model's; never changed.
    nodes
        What was made so far, in the order of execution.
    quantized
        The integers behind each real tensor that has them, by the real tensor's name.
    """

    def __init__(self, proto: onnx.ModelProto, weights: Mapping[str, np.ndarray]) -> None:
        self.graph = proto.graph
        self.opset = default_opset(proto)
        self.types = tensor_types(self.graph)
        self.nodes: list[onnx.NodeProto] = []
        self.quantized: dict[str, Quantized] = {}
        self.outputs = {value.name for value in self.graph.output}
        self.made_constants: dict[str, onnx.TensorProto] = {}
        self._weights = weights
        self._initializers = {tensor.name: tensor for tensor in self.graph.initializer}
        self._arrays: dict[str, np.ndarray] = {}
        self._fresh = FreshNames(self.graph)
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._real: set[str] = set()
        self._same: dict[str, str] = {}
        self._named: set[str] = set()
        self._consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.graph.node:
            for name in sorted(input_names(node)):
                self._consumers.setdefault(name, []).append(node)

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        """The nodes that read a tensor, each once, in order."""
        return self._consumers.get(name, [])

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Shape of a tensor of the Q/DQ model, None for what is not known."""
        return static_shape(self.types.get(name))

    def elem_type(self, name: str) -> int:
        """ONNX's number of a tensor's type; 0 where it is not known."""
        known = self.types.get(name)
        return known.tensor_type.elem_type if known is not None else 0

    def constant(self, name: str) -> np.ndarray | None:
        """Value of a tensor of the Q/DQ model where it is known; not to be changed."""
        from onnx import numpy_helper

        if name in self._weights:
            return self._weights[name]
        if name in self._initializers and name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._initializers[name])
        return self._arrays.get(name)

    def real_constant(self, name: str) -> np.ndarray | None:
        """Value in float32 of a constant, be it quantized; None where it is computed."""
        import numpy as np

        known = self.quantized.get(name)
        if known is not None:
            return None if known.value is None else known.real()
        value = self.constant(name)
        return None if value is None or value.dtype.kind != "f" else value.astype(np.float32)

    def quantization(self, node: onnx.NodeProto) -> Quantization | None:
        """Scale and zero point of a Q or DQ node; None where a rule could not use them."""
        import numpy as np

        scale, zero_point = self.constant(node.input[1]), self._zero_point(node)
        if scale is None or zero_point is None or self.quantization_problem(node):
            return None
        axis: int | None = None
        if scale.size != 1:
            axis = attributes(node).get("axis", 1) % len(self.shape(node.input[0]) or ())
        return Quantization(
            scale.reshape(() if axis is None else -1).astype(np.float32),
            zero_point.reshape(() if axis is None else -1).astype(np.int32),
            zero_point.dtype.name,
            self._initializer_type(node.input[1]),
            axis,
        )

    def quantization_problem(self, node: onnx.NodeProto) -> str:
        """Say why a rule could not use what a Q or DQ node makes or reads; empty where it could."""
        scale, zero_point = self.constant(node.input[1]), self._zero_point(node)
        if scale is None or zero_point is None:
            return "the scale or zero point of its operand is computed"
        stored = zero_point.dtype
        if stored.kind in "iu" and stored.itemsize == 2:
            return "its operand is quantized to 16 bits; kernels take 8"
        if stored.name not in _INTEGERS or scale.dtype.name not in ("float32", "float16"):
            return f"its operand is {stored.name} with a scale of {scale.dtype.name}"
        if attributes(node).get("block_size") or scale.ndim > 1 or scale.size != zero_point.size:
            return "its operand is quantized in blocks"
        if scale.size != 1 and self.shape(node.input[0]) is None:
            return "the shape of its operand is not known"
        # A negative scale turns the order round, on which Relu and MaxPool of bytes rely.
        return "" if (scale > 0).all() else "the scale of its operand is not positive"

    def _zero_point(self, node: onnx.NodeProto) -> np.ndarray | None:
        """The zero point, or as many zeros of the right type where it is left out."""
        import numpy as np
        import onnx

        if len(node.input) > 2 and node.input[2]:
            return self.constant(node.input[2])
        scale = self.constant(node.input[1])
        if scale is None:
            return None
        integers = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
        elem_type = self.elem_type(integers) or onnx.TensorProto.UINT8
        return np.zeros(scale.shape, onnx.helper.tensor_dtype_to_np_dtype(elem_type))

    def _initializer_type(self, name: str) -> int:
        return self.types[name].tensor_type.elem_type

    def add(self, op_type: str, *inputs: str, output: str = "", name: str = "", **more: Any) -> str:
        """Make a node of one output; return the output's name, a new one unless given."""
        from onnx import helper

        # An exporter may have called a node, which keeps its name, like its result.
        name = name or self.fresh(f"{output or inputs[0]}/{op_type}")
        node = helper.make_node(op_type, inputs, [output or name], name=name, **more)
        self.nodes.append(node)
        return node.output[0]

    def fresh(self, wanted: str) -> str:
        """Return a name that no tensor has."""
        return self._fresh.take(wanted)

    def new_constant(self, value: np.ndarray, label: str) -> str:
        """Return the name of a constant of this value; equal ones are one."""
        from onnx import numpy_helper

        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._shared:
            name = self.fresh(label)
            self._shared[key] = name
            self.made_constants[name] = numpy_helper.from_array(value, name)
        return self._shared[key]

    def zero_point_constant(self, how: Quantization) -> str:
        """Return the name of the zero point as a constant of its type."""
        return self.new_constant(how.zero_point.astype(how.dtype), "zero_point")

    def copy(self, node: onnx.NodeProto) -> None:
        """Take a node over as it is, its inputs as real numbers where that is what it reads."""
        for name in sorted(input_names(node)):
            self.want_real(name)
        for name in sorted(captured_names(node)):
            self.want_name(name)
        copied = type(node).FromString(node.SerializeToString())
        for index, name in enumerate(copied.input):
            copied.input[index] = self._same.get(name, name)
        self.nodes.append(copied)
        self._real.update(node.output)

    def want_real(self, name: str) -> None:
        """See to it that a real tensor exists under its own name: dequantize it once."""
        known = self.quantized.get(name)
        if known is None or name in self._real:
            return
        self._real.add(name)
        scale = known.how.scale.astype(numpy_dtype(known.how.float_type))
        inputs = [known.tensor, self.new_constant(scale, "scale")]
        zeros = known.how.zero_point
        inputs.append(self.new_constant(zeros.astype(known.how.dtype), "zero_point"))
        axis: dict[str, Any] = {} if known.how.axis is None else {"axis": known.how.axis}
        self.add("DequantizeLinear", *inputs, output=name, **axis)

    def centred(self, known: Quantized, label: str) -> str:
        """Make X - z in int32; return its name."""
        import onnx

        output = self.fresh(f"{label}/int32")
        wide = self.add("Cast", known.tensor, to=onnx.TensorProto.INT32, output=output)
        if not known.how.zero_point:
            return wide
        zero = self.new_constant(known.how.zero_point, "zero")
        return self.add("Sub", wide, zero, output=self.fresh(f"{label}/centred"))

    def made_real(self, name: str) -> None:
        """Note that a real tensor of the Q/DQ model was made under its own name."""
        self._real.add(name)

    def share_bytes(self, quantize: Sequence[onnx.NodeProto]) -> str:
        """Let the outputs of Q nodes that do the same be one tensor; return its name."""
        first, *others = (node.output[0] for node in quantize)
        for other in others:
            self.is_same(other, first)
        return first

    def is_same(self, name: str, other: str) -> None:
        """Let a tensor of the Q/DQ model be another one of the integer model.

        That may be made later: what needs the first name calls `want_name` when it reads it.
        """
        self._same[name] = other

    def want_name(self, name: str) -> None:
        """See to it that a tensor which became another one exists under its own name too."""
        if name in self._same and name not in self._named:
            self._named.add(name)
            self.add("Identity", self._same[name], output=name)

    def integers(self, name: str) -> str:
        """Return the name under which a tensor of integers exists in the integer model."""
        return self._same.get(name, name)
