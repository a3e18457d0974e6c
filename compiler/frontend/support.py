"""Refuse, all at once, the nodes that cannot be compiled or would be compiled wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.dtypes import is_carried, is_supported, type_label
from autoglm_tvm.compiler.frontend.graph import (
    default_opset,
    known_tensors,
    subgraphs,
    walk_nodes,
)
from autoglm_tvm.compiler.frontend.infer import tensor_types
from autoglm_tvm.compiler.frontend.known_wrong import why_wrong
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.operators import has_converter
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

#: Operators that take 4-bit and 2-bit integers and small floats: our converters know what their
#: bytes mean, and to those that only move data it is all the same.
TAKE_CARRIED = (
    "Cast",
    "Concat",
    "DequantizeLinear",
    "Expand",
    "Flatten",
    "Gather",
    "Identity",
    "If",
    "QuantizeLinear",
    "Reshape",
    "Shape",
    "Size",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "Transpose",
    "Unsqueeze",
)
#: Names of nodes that a message lists for one operator before it only counts.
SHOWN_NODES = 3


@dataclass(frozen=True)
class Refusal:
    """One node that is refused."""

    operator: str
    version: str
    node: str
    reason: str


def check_interface_types(model: onnx.ModelProto, label: str) -> list[str]:
    """Refuse inputs and outputs that are no tensors of a supported dtype.

    Raises
    ------
    UserInputError
        Naming every such input and output and its type.
    """
    bad = [
        f"{kind} '{value.name}' is {type_label(value.type)}"
        for kind, values in (("input", model.graph.input), ("output", model.graph.output))
        for value in values
        if not _is_tensor(value.type, allow_unknown=kind == "output")
    ]
    if bad:
        raise UserInputError(
            f"unsupported type: {'; '.join(bad)}",
            where=label,
            hint="only tensors of floats, integers and bool can be compiled; do text, sequence and "
            "map handling outside the model",
        )
    return []


def _is_tensor(type_proto: onnx.TypeProto, *, allow_unknown: bool) -> bool:
    kind = type_proto.WhichOneof("value")
    if kind is None:
        return allow_unknown
    if kind != "tensor_type":
        return False
    elem_type = type_proto.tensor_type.elem_type
    if elem_type == 0:
        return allow_unknown
    return is_supported(elem_type) or is_carried(elem_type)


def check_supported(model: onnx.ModelProto, label: str) -> list[str]:
    """Refuse nodes without a converter, of unsupported dtypes, or that are known to go wrong.

    Raises
    ------
    UserInputError
        Listing every such node: operator, domain, version, name, and why.
    """
    refusals = find_refusals(model)
    if refusals:
        count = len(refusals)
        listed = "\n".join(f"  {line}" for line in _compact(refusals))
        raise UserInputError(
            f"{count} node{'s' if count > 1 else ''} cannot be compiled:\n{listed}",
            where=label,
            hint=_hint(refusals),
        )
    return []


def find_refusals(model: onnx.ModelProto) -> list[Refusal]:
    """Return what :func:`check_supported` would refuse, looking into branches and loops too."""
    import onnx

    versions = {entry.domain: str(entry.version) for entry in model.opset_import}
    versions[""] = str(default_opset(model))
    found: list[Refusal] = []
    _collect(model.graph, NodeContext(onnx.NodeProto()), "", versions, found)
    return found


def _collect(
    graph: onnx.GraphProto,
    outer: NodeContext,
    path: str,
    versions: dict[str, str],
    found: list[Refusal],
) -> None:
    types = {**outer.types, **tensor_types(graph)}
    constants = {**outer.constants, **known_tensors(graph)}
    producers = {**outer.producers, **{name: n for n in graph.node for name in n.output}}
    for node in graph.node:
        context = NodeContext(node, types, constants, producers)
        reason = _reason(context)
        if reason is not None:
            operator = f"{node.domain or 'ai.onnx'}::{node.op_type}"
            version = versions.get(node.domain, "not imported")
            found.append(Refusal(operator, version, f"{path}{node.name}", reason))
        for name, inner in subgraphs(node):
            _collect(inner, context, f"{path}{node.name}.{name}/", versions, found)


def _reason(context: NodeContext) -> str | None:
    node = context.node
    if not has_converter(node):
        return "no converter" if not node.domain else "operator of another domain"
    if node.domain == "com.microsoft" or not any(True for _ in subgraphs(node)):
        wrong = why_wrong(context)
        if wrong is not None:
            return f"would be compiled wrongly: {wrong}"
    for name in (*node.input, *node.output):
        type_proto = context.types.get(name) if name else None
        if type_proto is not None and type_proto.HasField("tensor_type"):
            elem_type = type_proto.tensor_type.elem_type
            if elem_type and not is_supported(elem_type):
                if is_carried(elem_type) and node.op_type in TAKE_CARRIED:
                    continue
                return f"tensor '{name}' has the unsupported dtype {type_label(type_proto)}"
    return None


def _compact(refusals: list[Refusal]) -> list[str]:
    """One line for each operator and reason: its version, how many nodes, and the first names."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for refusal in refusals:
        key = (refusal.operator, refusal.version, refusal.reason)
        groups.setdefault(key, []).append(refusal.node)
    lines = []
    for (operator, version, reason), nodes in groups.items():
        names = ", ".join(f"'{name}'" for name in nodes[:SHOWN_NODES])
        more = f" and {len(nodes) - SHOWN_NODES} more" if len(nodes) > SHOWN_NODES else ""
        lines.append(f"{operator} (version {version}), {len(nodes)}x: {names}{more}: {reason}")
    return lines


def _hint(refusals: list[Refusal]) -> str:
    domains = {refusal.operator.partition("::")[0] for refusal in refusals}
    if domains - {"ai.onnx"}:
        return (
            "export the model with standard ONNX operators only; models optimised by "
            "onnxruntime hold its own, so give the original export"
        )
    return "replace these operators in the model, or export it with another opset or fixed shapes"


def operator_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Count the nodes of `model` by operator, branches included, in alphabetical order."""
    counts: dict[str, int] = {}
    for _, node in walk_nodes(model.graph):
        name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))
