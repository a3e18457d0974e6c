"""Expand by a computed shape: the importer broadcasts one way, where ONNX broadcasts both ways.

Expand(x, s) keeps the size of x wherever s is 1. The importer sees that only where the 1 is known,
and takes a symbolic dimension of x for equal to whatever the shape says, even where it is 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.graph import FreshNames
from autoglm_tvm.compiler.frontend.known_wrong import expand_of_unknown
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.shape_values import is_carried

if TYPE_CHECKING:
    import onnx


def expand_both_ways(context: NodeContext, fresh: FreshNames) -> list[onnx.NodeProto] | None:
    """Expand(x, s) = Expand(x, t), where t is the shape of x, but s where that is 1.

    Where the importer carries s with its symbols, only the known dimensions of x are written in.
    """
    data, length = context.shape(0), context.shape(1)
    if data is None or not length or length[0] is None or expand_of_unknown(context):
        return None
    if _changes_nothing(context):
        return [_identity(context.node)]
    rank = max(len(data), length[0])
    dims = (1,) * (rank - len(data)) + data
    builder = _Builder(context, fresh, rank)
    if context.is_constant(1):
        if None not in dims:
            return None
        target = builder.from_constant(dims)
    elif all(dim == 1 for dim in dims) and length[0] == rank:
        return None
    elif not is_carried(context, context.node.input[1]):
        target = builder.chosen_at_run_time(dims)
    elif all(dim in (1, None) for dim in dims) and length[0] == rank:
        return None
    else:
        target = builder.with_known(dims)
    context.node.input[1] = target
    return [*builder.made, context.node]


def _changes_nothing(context: NodeContext) -> bool:
    source, result = (context.types.get(n) for n in (context.node.input[0], context.node.output[0]))
    if source is None or result is None:
        return False
    before, after = source.tensor_type.shape.dim, result.tensor_type.shape.dim
    named = all(dim.dim_param or dim.HasField("dim_value") for dim in before)
    return named and list(before) == list(after)


def _identity(node: onnx.NodeProto) -> onnx.NodeProto:
    from onnx import helper

    return helper.make_node("Identity", node.input[:1], list(node.output), name=node.name)


class _Builder:
    """Makes the nodes that compute the shape; all their tensors are int64 of one dimension."""

    def __init__(self, context: NodeContext, fresh: FreshNames, rank: int) -> None:
        self._context = context
        self._node = context.node
        self._fresh = fresh
        # How many dimensions x and s lack before their first.
        self._before_x = rank - len(context.shape(0) or ())
        self._before_s = rank - ((context.shape(1) or (0,))[0] or 0)
        self.made: list[onnx.NodeProto] = []

    def from_constant(self, dims: tuple[int | None, ...]) -> str:
        """Join the known dimensions and the symbolic ones of x, which the result keeps."""
        value = self._context.constant(1)
        wanted = [1] * self._before_s + ([] if value is None else value.tolist())
        shape = self._add("Shape", self._node.input[0])
        parts = [
            self._element(shape, axis - self._before_x)
            if dim is None
            else self._constant(wanted[axis] if dim == 1 else dim)
            for axis, dim in enumerate(dims)
        ]
        return self._add("Concat", *parts, axis=0)

    def with_known(self, dims: tuple[int | None, ...]) -> str:
        """Join the elements of s with the known dimensions of x that are not 1."""
        parts = []
        for axis, dim in enumerate(dims):
            if axis < self._before_s or dim not in (1, None):
                # The importer takes 1 as x's own dimension, also where that is a symbol.
                parts.append(self._constant(dim or 1))
            else:
                parts.append(self._element(self._node.input[1], axis - self._before_s))
        return self._add("Concat", *parts, axis=0)

    def chosen_at_run_time(self, dims: tuple[int | None, ...]) -> str:
        """Where(x's dimension is 1, s, x's dimension), all as tensors."""
        wanted = self._tensor(self._node.input[1], self._before_s)
        if None in dims:
            size = self._tensor(self._add("Shape", self._node.input[0]), self._before_x)
        else:
            size = self._constant(*[dim or 0 for dim in dims])
        return self._add("Where", self._add("Equal", size, self._constant(1)), wanted, size)

    def _tensor(self, shape: str, before: int) -> str:
        """Put ones before a shape; a Cast that changes nothing makes it a tensor."""
        from onnx import TensorProto

        tensor = self._add("Cast", shape, to=TensorProto.INT64)
        return (
            self._add("Concat", self._constant(*[1] * before), tensor, axis=0) if before else tensor
        )

    def _element(self, shape: str, index: int) -> str:
        return self._add("Slice", shape, self._constant(index), self._constant(index + 1))

    def _constant(self, *values: int) -> str:
        import numpy as np
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(np.array(values, dtype=np.int64))
        return self._add("Constant", value=tensor)

    def _add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        from onnx import helper

        name = self._fresh.take(f"{self._node.name}/{op_type}")
        self.made.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name
