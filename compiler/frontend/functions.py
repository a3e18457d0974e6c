"""Replace operators that the importer lacks by the function body that ONNX defines for them.

Model-local functions are inlined first. Then every standard operator without a converter (and the
few whose converter reads them wrongly) is expanded one node at a time, until none is left that has
a body. A body may depend on the inputs' types and on the attributes ("context dependent").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    default_opset,
    known_tensors,
    rename_tensors,
    replace_items,
    subgraphs,
)
from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.known_wrong import why_wrong
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.operators import has_converter
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

#: A body may call functions itself; deeper nesting than this is an endless loop.
MAX_ROUNDS = 8
#: The domain under which a body is inlined, so that nothing else is.
BODY_DOMAIN = "autoglm_tvm.function_body"


def inline_local_functions(model: onnx.ModelProto, label: str) -> list[str]:
    """Inline the functions that the model brings along.

    Raises
    ------
    UserInputError
        Where they call each other in a circle, or onnx cannot inline them.
    """
    if not model.functions:
        return []
    from onnx import inliner

    names = [f"{function.domain}::{function.name}" for function in model.functions]
    try:
        inlined = inliner.inline_local_functions(model, convert_version=True)
    except Exception as err:
        raise UserInputError(
            f"the model's own functions cannot be inlined: {str(err).splitlines()[0]}",
            where=label,
            hint="inline them when exporting (torch.onnx.export(..., optimize=True))",
        ) from None
    model.CopyFrom(inlined)
    return [f"inlined the model's own functions: {', '.join(names)}"]


def expand_functions(model: onnx.ModelProto) -> list[str]:
    """Expand operators without a converter by their ONNX function bodies, in place."""
    expanded: dict[str, int] = {}
    for _ in range(MAX_ROUNDS):
        infer_shapes(model)
        before = sum(expanded.values())
        _expand_graph(model, model.graph, {}, {}, FreshNames(model.graph), expanded)
        constant_nodes_to_initializers(model)
        if sum(expanded.values()) == before:
            break
    if not expanded:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in sorted(expanded.items()))
    return [f"expanded by their ONNX function bodies: {listed}"]


def _expand_graph(
    model: onnx.ModelProto,
    graph: onnx.GraphProto,
    outer: dict[str, onnx.TypeProto],
    constants: dict[str, onnx.TensorProto],
    fresh: FreshNames,
    expanded: dict[str, int],
) -> None:
    types = {**outer, **tensor_types(graph)}
    known = {**constants, **known_tensors(graph)}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        for _, inner in subgraphs(node):
            _expand_graph(model, inner, types, known, fresh, expanded)
        context = NodeContext(node, types, known)
        body = _body(model, node, types, fresh) if _should_expand(context) else None
        if body is None:
            nodes.append(node)
        else:
            nodes.extend(body)
            expanded[node.op_type] = expanded.get(node.op_type, 0) + 1
    if len(nodes) != len(graph.node) or any(
        a is not b for a, b in zip(nodes, graph.node, strict=True)
    ):
        replace_items(graph.node, nodes)


def _should_expand(context: NodeContext) -> bool:
    node = context.node
    if node.domain or any(True for _ in subgraphs(node)):
        return False
    return not has_converter(node) or why_wrong(context) is not None


def _body(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    fresh: FreshNames,
) -> list[onnx.NodeProto] | None:
    """Return the nodes that compute `node`, or None where ONNX has no body for it here."""
    inputs = dict.fromkeys(name for name in node.input if name)
    if any(name not in types for name in inputs):
        return None
    function = _function(node, default_opset(model), types)
    if function is None:
        return None
    body = _inline(model, node, function, {name: types[name] for name in inputs})
    _name_body(node, body, fresh)
    return body


def _function(
    node: onnx.NodeProto, opset: int, types: dict[str, onnx.TypeProto]
) -> onnx.FunctionProto | None:
    """Return ONNX's definition of `node` at `opset`, built for its attributes and input types."""
    import onnx

    try:
        schema: Any = onnx.defs.get_schema(node.op_type, opset, "")
    except onnx.defs.SchemaError:
        return None
    plain = [v for v in schema.function_opset_versions if v <= opset]
    by_context = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if plain:
        data = schema.get_function_with_opset_version(max(plain))
    elif by_context:
        absent = onnx.TypeProto()
        given = [types.get(name, absent).SerializeToString() for name in node.input]
        try:
            data = schema.get_context_dependent_function_with_opset_version(
                max(by_context), node.SerializeToString(), given
            )
        except RuntimeError:
            # ONNX's builder cannot handle this combination: the node stays and is reported.
            return None
    else:
        return None
    function = onnx.FunctionProto.FromString(data)
    return function if function.node else None


def _inline(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    function: onnx.FunctionProto,
    inputs: dict[str, onnx.TypeProto],
) -> list[onnx.NodeProto]:
    """Let onnx bind the attributes, inputs and outputs of `node` to those of `function`."""
    import onnx
    from onnx import helper, inliner

    imports = [*model.opset_import, helper.make_opsetid(BODY_DOMAIN, 1)]
    function.domain = BODY_DOMAIN
    replace_items(function.opset_import, imports)
    call = onnx.NodeProto()
    call.CopyFrom(node)
    call.domain = BODY_DOMAIN
    call.attribute.extend(_defaults(node, default_opset(model)))
    graph = helper.make_graph(
        [call],
        "one_node",
        [helper.make_value_info(name, type_proto) for name, type_proto in inputs.items()],
        [helper.make_empty_tensor_value_info(name) for name in node.output if name],
    )
    single = helper.make_model(
        graph, functions=[function], opset_imports=imports, ir_version=model.ir_version
    )
    return list(inliner.inline_local_functions(single).graph.node)


def _defaults(node: onnx.NodeProto, opset: int) -> list[onnx.AttributeProto]:
    """Return the default values of the attributes that `node` leaves out: a body refers to them."""
    import onnx

    given = {attribute.name for attribute in node.attribute}
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    defaults = [a.default_value for name, a in schema.attributes.items() if name not in given]
    return [default for default in defaults if default.name]


def _name_body(node: onnx.NodeProto, body: list[onnx.NodeProto], fresh: FreshNames) -> None:
    """Give the tensors inside a body names that no other tensor of the model has."""
    outside = set(node.input) | set(node.output)
    inside = dict.fromkeys(
        name for inner in body for name in inner.output if name and name not in outside
    )
    names = {name: fresh.take(f"{node.name}/{name}") for name in inside}
    for inner in body:
        rename_tensors(inner, names)
        inner.name = fresh.take(f"{node.name}/{inner.op_type}")
