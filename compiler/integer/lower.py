"""From Q/DQ islands to integer operators of standard ONNX.

One walk along the graph. DequantizeLinear makes nothing: it notes which bytes stand behind a real
tensor. A node whose inputs have bytes is offered to the rule of its operator; where that refuses,
the node is taken over as it is, and what it reads is dequantized. QuantizeLinear of a tensor that
has bytes already is a change of scale, or nothing.

The result is a valid model that onnxruntime runs too, with one exception: it has no ConvInteger of
weights whose zero points differ from channel to channel, as ONNX defines it and TVM runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import input_names, replace_items, subgraphs, walk_nodes
from autoglm_tvm.compiler.frontend.model_constants import as_read_model
from autoglm_tvm.compiler.integer.activation_sign import move_activation_signs
from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.bytes_to_bytes import bytes_to_bytes
from autoglm_tvm.compiler.integer.movement import MOVEMENTS
from autoglm_tvm.compiler.integer.multiply_adds import CONTRACTIONS, multiply_adds
from autoglm_tvm.compiler.integer.node_execution import FLOAT, HALF, INT4, INTEGER, NodeExecution
from autoglm_tvm.compiler.integer.quantization import Quantization, Quantized
from autoglm_tvm.compiler.integer.quantize_early import quantize_early
from autoglm_tvm.compiler.integer.reasons import reason_for
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.rules import RULES

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.read import ReadModel
    from autoglm_tvm.schedules.machine import Machine

Q, DQ = "QuantizeLinear", "DequantizeLinear"
# Integer operators that a model may hold itself.
_INTEGER_OPERATORS = ("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")
_HALF_TYPES = ("FLOAT16", "BFLOAT16")


@dataclass(frozen=True)
class IntegerModel:
    """A model whose Q/DQ islands are integer operators, and how each node runs.

    Attributes
    ----------
    model
        What is imported; a valid ONNX model, which onnxruntime runs too but for the exception
        above.
    nodes
        One for each node of the Q/DQ model but Q and DQ, in its order; empty where nothing in it
        is quantized, and nothing half.
    """

    model: ReadModel
    nodes: tuple[NodeExecution, ...]


def lower_to_integers(
    model: ReadModel, machine: Machine, requantization: str = "float32"
) -> IntegerModel:
    """Turn the Q/DQ islands of the main graph into integer operators.

    Parameters
    ----------
    model
        In Q/DQ form, types inferred; not changed.
    machine
        Its instruction chooses the sign of inner activations.
    requantization
        ``float32`` (as onnxruntime, bit for bit) or ``fixed-point`` (no float, within one step).
    """
    import onnx

    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    if not any(node.op_type in (Q, DQ) for node in proto.graph.node):
        return IntegerModel(model, _as_they_are(model))
    quantize_early(proto, Bench(proto, model.weights))
    notes = move_activation_signs(proto, machine)
    bench = Bench(proto, model.weights)
    walk = _Walk(bench, requantization)
    walk.run()
    nodes = walk.executions()
    replace_items(proto.graph.node, bench.nodes)
    proto.graph.initializer.extend(bench.made_constants.values())
    return IntegerModel(as_read_model(model, proto, tuple(notes)), nodes)


class _Walk:
    """The walk along the graph, and what was decided on it."""

    def __init__(self, bench: Bench, method: str) -> None:
        self.bench = bench
        self.method = method
        self.integer: set[str] = set()
        # The bytes that were made of each real tensor.
        self.made_bytes: dict[str, list[tuple[str, Quantization]]] = {}
        # Real tensors behind DequantizeLinear that no rule can use, and why.
        self.unusable: dict[str, str] = {}
        self.reasons: dict[str, str] = {}

    def run(self) -> None:
        """Visit every node; see to it that each output of the graph exists."""
        for node in self.bench.graph.node:
            if node.op_type == DQ and self.bench.constant(node.input[0]) is not None:
                self._dequantize(node)
        for node in self.bench.graph.node:
            self._visit(node)
        for name in sorted(self.bench.outputs):
            self.bench.want_real(name)
            self.bench.want_name(name)

    def _visit(self, node: onnx.NodeProto) -> None:
        if _key(node) in self.integer:
            return
        if node.op_type == DQ:
            if node.output[0] not in self.bench.quantized and not self._dequantize(node):
                self.bench.copy(node)
        elif node.op_type == Q:
            self._quantize(node)
        else:
            self._operator(node)

    def _dequantize(self, node: onnx.NodeProto) -> bool:
        how = self.bench.quantization(node)
        if how is None:
            self.unusable[node.output[0]] = self.bench.quantization_problem(node)
            return False
        name = self.bench.integers(node.input[0])
        value = self.bench.constant(node.input[0])
        self.bench.quantized[node.output[0]] = Quantized(name, how, value)
        return True

    def _quantize(self, node: onnx.NodeProto) -> None:
        source = self.bench.quantized.get(node.input[0])
        how = self.bench.quantization(node)
        done = self.made_bytes.setdefault(node.input[0], [])
        same = next((name for name, other in done if how is not None and other.same_as(how)), None)
        if same is not None:
            self.bench.is_same(node.output[0], self.bench.integers(same))
            return
        if how is not None:
            done.append((node.output[0], how))
        if source is None or how is None or not source.activation or not how.of_bytes:
            self.bench.copy(node)
        elif source.how.same_as(how):
            self.bench.is_same(node.output[0], source.tensor)
        else:
            bytes_to_bytes(self.bench, source, how, node.output[0], method=self.method)

    def _operator(self, node: onnx.NodeProto) -> None:
        reads_bytes = any(name in self.bench.quantized for name in input_names(node))
        rule = RULES.get(node.op_type) if not node.domain else None
        found = rule(self.bench, node, self.method) if reads_bytes and rule is not None else None
        if isinstance(found, tuple):
            self.integer.update(_key(each) for each in found)
            return
        self.reasons[_key(node)] = self._reason(node, found)
        self.bench.copy(node)

    def _reason(self, node: onnx.NodeProto, refusal: Refusal | None) -> str:
        """Why a node stays in float; empty where it never could have been part of an island.

        What only follows a node that stayed in float, and adds a quantized constant to its result,
        say, is not to be blamed.
        """
        names = sorted(input_names(node))
        operands = [self.bench.quantized[name] for name in names if name in self.bench.quantized]
        if any(True for _ in subgraphs(node)):
            held = bool(operands) or _holds_quantized(node)
            return "it holds branches, which stay in float" if held else ""
        if node.op_type in RULES and any(name in self.unusable for name in names):
            return next(self.unusable[name] for name in names if name in self.unusable)
        multiplies = node.op_type in CONTRACTIONS
        if not operands:
            return "its input is not quantized" if multiplies and self._is_quantized(node) else ""
        computed = any(operand.value is None for operand in operands)
        if not (computed or multiplies or node.op_type in MOVEMENTS):
            return ""
        return reason_for(node.op_type) if refusal is None else refusal.reason

    def _is_quantized(self, node: onnx.NodeProto) -> bool:
        """Whether its result is quantized, and by a rule that would have made it so itself."""
        readers = [each for name in node.output for each in self.bench.consumers(name)]
        return node.op_type in RULES and any(each.op_type == Q for each in readers)

    def executions(self) -> tuple[NodeExecution, ...]:
        """How each node runs, in the order of the graph."""
        return tuple(
            _execution(
                node,
                self.bench.types,
                INTEGER if _key(node) in self.integer else "",
                self.reasons.get(_key(node), ""),
            )
            for node in self.bench.graph.node
            if node.op_type not in (Q, DQ)
        )


def _holds_quantized(node: onnx.NodeProto) -> bool:
    inner = (each for _, graph in subgraphs(node) for _, each in walk_nodes(graph))
    return any(each.op_type in (Q, DQ) for each in inner)


def _key(node: onnx.NodeProto) -> str:
    """A name that no other node has: names of nodes may repeat, those of tensors do not."""
    return next(name for name in node.output if name)


def _as_they_are(model: ReadModel) -> tuple[NodeExecution, ...]:
    """How the nodes of a model without Q/DQ run; empty for a plain float model."""
    from autoglm_tvm.compiler.frontend.infer import tensor_types

    types = tensor_types(model.proto.graph)
    nodes = tuple(_execution(node, types, "", "") for node in model.proto.graph.node)
    quantized = any(
        node.runs in (HALF, INT4) or node.op_type in _INTEGER_OPERATORS for node in nodes
    )
    return nodes if quantized else ()


def _is_of_bytes(node: onnx.NodeProto, types: dict[str, onnx.TypeProto]) -> bool:
    """Whether a node of the model itself makes bytes of bytes, as a Gather of a table does."""
    import onnx

    integers = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    ends = [types.get(name) for name in (*node.input[:1], *node.output[:1])]
    return all(t is not None and t.tensor_type.elem_type in integers for t in ends)


def _execution(
    node: onnx.NodeProto, types: dict[str, onnx.TypeProto], runs: str, reason: str
) -> NodeExecution:
    import onnx

    if not runs:
        halves = {onnx.TensorProto.DataType.Value(name) for name in _HALF_TYPES}
        known = [types.get(name) for name in (*node.input, *node.output)]
        half = any(t is not None and t.tensor_type.elem_type in halves for t in known)
        if node.op_type in _INTEGER_OPERATORS or _is_of_bytes(node, types):
            runs = INTEGER
        elif node.op_type == "MatMulNBits":
            runs = INT4
        else:
            runs = HALF if half else FLOAT
    return NodeExecution(node.name, node.op_type, runs, reason, multiply_adds(node, types))
