"""Settle what is said about the outputs: inferred where possible, declared where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.symbols import SymbolTable, is_unnamed

if TYPE_CHECKING:
    import onnx


def settle_outputs(
    model: onnx.ModelProto, declared: dict[str, onnx.TypeProto], *, trust_declared: bool
) -> list[str]:
    """Complete the types of the graph's outputs, in place.

    Parameters
    ----------
    declared
        The outputs' types as the file declared them.
    trust_declared
        Whether a declared number may fill in for an unknown dimension: not after input dimensions
        were bound, since it was then declared for other inputs.

    Notes
    -----
    A dimension that is neither inferred nor an input's symbol gets a symbol of its own.
    """
    symbols = SymbolTable()
    known = {d.dim_param for v in model.graph.input for d in v.type.tensor_type.shape.dim}
    for name in sorted(known - {""}):
        symbols.reserve(name)
    for value in model.graph.output:
        was = declared.get(value.name)
        tensor = value.type.tensor_type
        if was is not None and not tensor.elem_type:
            tensor.elem_type = was.tensor_type.elem_type
        if not tensor.HasField("shape"):
            if was is None or not was.tensor_type.HasField("shape"):
                continue
            tensor.shape.SetInParent()
            for _ in was.tensor_type.shape.dim:
                tensor.shape.dim.add()
        _settle_dims(value, was, known, symbols, trust_declared)
    return []


def _settle_dims(
    value: onnx.ValueInfoProto,
    was: onnx.TypeProto | None,
    known: set[str],
    symbols: SymbolTable,
    trust_declared: bool,
) -> None:
    dims = value.type.tensor_type.shape.dim
    before = list(was.tensor_type.shape.dim) if was is not None else []
    for axis, dim in enumerate(dims):
        if dim.HasField("dim_value") or dim.dim_param in known - {""}:
            continue
        old = before[axis] if len(before) == len(dims) else None
        if old is not None and trust_declared and old.dim_value > 0:
            dim.dim_value = old.dim_value
            continue
        name = dim.dim_param
        if is_unnamed(name) and old is not None:
            name = old.dim_param
        dim.dim_param = symbols.for_dimension("" if name in known else name, value.name, axis)
