"""Find attention in a graph: two matrix products with scale, mask and softmax between them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from autoglm_tvm.compiler.passes.attention_parts import Attention, Mask, Operand, Step
from autoglm_tvm.compiler.passes.dataflow import (
    Dataflow,
    constant_array,
    constant_number,
    operator_of,
)
from autoglm_tvm.compiler.passes.views import (
    IndexMap,
    View,
    broadcast_index,
    flatten,
    static_shape,
    trace,
    unflatten,
)

_FLOATS = ("float32", "float16")
# Operators on scores, by how they are computed. The sum of products is one of the operands.
_ELEMENTWISE = (
    "relax.add",
    "relax.subtract",
    "relax.multiply",
    "relax.divide",
    "relax.where",
    "relax.astype",
    "relax.tanh",
)
_BATCH_VIEWS = ("relax.reshape", "relax.expand_dims", "relax.squeeze")
_RESULT_VIEWS = ("relax.permute_dims", *_BATCH_VIEWS)


@dataclass
class _Scores:
    """The chain from the softmax back to the first product."""

    product: Any
    steps: list[Step] = field(default_factory=list)


def find_attention(variable: Any, graph: Dataflow) -> Attention | None:
    """The attention whose second product is bound to `variable`; None if there is none."""
    second = graph.call(variable, "relax.matmul")
    shape = static_shape(second.args[0]) if second is not None else None
    if second is None or shape is None or len(shape) < 3 or 0 in shape:
        return None
    weights, zeroed = _without_zeros(second.args[0], shape, graph)
    source = _softmax_of(weights, shape, graph, readers=2 if zeroed == "nan" else 1)
    if source is None:
        return None
    scores = _follow(source, list, graph)
    if scores is None:
        return None
    found, index = scores
    first = found.product
    left, right = static_shape(first.args[0]), static_shape(first.args[1])
    values, result = static_shape(second.args[1]), static_shape(second)
    if left is None or right is None or values is None or result is None:
        return None
    if min(len(left), len(right), len(values)) < 2 or result[:-1] != shape[:-1] or 0 in result:
        return None
    dtypes = {str(operand.ty.dtype) for operand in (*first.args, second.args[1])}
    if not left[-1] or not dtypes <= set(_FLOATS):
        return None
    return Attention(
        results=tuple(_results(variable, result, graph)),
        batch=tuple(shape[:-2]),
        rows=shape[-2],
        keys=shape[-1],
        depth=left[-1],
        width=result[-1],
        query=_operand(first.args[0], left, index, graph),
        key=_operand(first.args[1], right, index, graph),
        value=_operand(second.args[1], values, list, graph),
        steps=tuple(found.steps),
        zeroed=zeroed,
    )


def _without_zeros(
    value: Any, shape: list[int], graph: Dataflow
) -> tuple[Any, Literal["none", "nan"] | Mask]:
    """`w` of ``where(c, 0, w)``, by which rows without a key give zeros, and which these are.

    The condition is ``isnan(w)``, as torch exports attention with a mask, or one column, as the
    standard's function body of Attention has it. Else `value`.
    """
    select = graph.call(value, "relax.where")
    if select is None or not graph.is_read_once(value):
        return value, "none"
    condition, zero, weights = select.args
    if constant_number(graph.definition(zero)) != 0.0 or static_shape(weights) != shape:
        return value, "none"
    test = graph.call(condition, "relax.isnan")
    if test is not None and test.args[0].same_as(weights) and graph.is_read_once(condition):
        return weights, "nan"
    column = static_shape(condition)
    if column is None or not column or column[-1] != 1:
        return value, "none"
    return weights, _mask(condition, column, list, graph)


def _softmax_of(weights: Any, shape: list[int], graph: Dataflow, readers: int) -> Any:
    """What `weights` are the softmax of along the last axis, if so many readers are all.

    Before opset 13 ONNX's Softmax was one of a matrix: it stands between two reshapes.
    """
    inner = _before("relax.astype", weights, graph, readers)
    if str(inner.ty.dtype) not in _FLOATS:
        return None
    readers = readers if inner is weights else 1
    matrix = _before("relax.reshape", inner, graph, readers)
    readers = readers if matrix is inner else 1
    scores = _before("relax.nn.softmax", matrix, graph, readers)
    extents = static_shape(matrix)
    if scores is matrix or extents is None or extents[-1] != shape[-1]:
        return None
    if int(graph.definition(matrix).attrs.axis) % len(extents) != len(extents) - 1:
        return None
    if matrix is not inner:
        scores = _before("relax.reshape", scores, graph, 1)
    return scores if static_shape(scores) == shape else None


def _before(operator: str, value: Any, graph: Dataflow, readers: int) -> Any:
    """The operand of `operator` if `value` is one that has only so many readers, else `value`."""
    call = graph.call(value, operator)
    if call is None or len(graph.readers(value)) != readers or value in graph.outputs:
        return value
    return call.args[0]


def _follow(value: Any, index: IndexMap, graph: Dataflow) -> tuple[_Scores, IndexMap] | None:
    """Go from the softmax back to the product; the map leads to the indices of the product."""
    call = graph.definition(value)
    name, shape = operator_of(call), static_shape(value)
    if shape is None or not graph.is_read_once(value):
        return None
    if name == "relax.matmul":
        # A constant matrix is better off packed at compile time.
        is_constant = constant_array(graph.definition(call.args[1])) is not None
        return None if is_constant else (_Scores(call), index)
    if name in _BATCH_VIEWS:
        return _follow_view(call, shape, index, graph)
    if name not in _ELEMENTWISE or str(call.ty.dtype) not in _FLOATS:
        return None
    for at, operand in enumerate(call.args):
        if static_shape(operand) != shape or (name == "relax.where" and at == 0):
            continue
        found = _follow(operand, index, graph)
        if found is not None:
            others = [
                None if i == at else _other(arg, shape, index, graph)
                for i, arg in enumerate(call.args)
            ]
            found[0].steps.append(Step(name, tuple(others), str(call.ty.dtype)))
            return found
    return None


def _follow_view(
    call: Any, shape: list[int], index: IndexMap, graph: Dataflow
) -> tuple[_Scores, IndexMap] | None:
    """Batch axes are split or merged; rows and keys stay."""
    source = static_shape(call.args[0])
    if source is None or source[-2:] != shape[-2:] or len(shape) < 2:
        return None

    def before(at: Sequence[Any]) -> list[Any]:
        *batch, row, key = index(at)
        return [*unflatten(flatten(batch, shape[:-2]), source[:-2]), row, key]

    return _follow(call.args[0], before, graph)


def _other(value: Any, scores: list[int], index: IndexMap, graph: Dataflow) -> float | Mask:
    """An operand beside the scores."""
    number = constant_number(graph.definition(value))
    if number is not None:
        return number
    shape = static_shape(value)
    assert shape is not None  # it is broadcast to the scores, whose shape is static
    return _mask(value, shape, index, graph)


def _mask(value: Any, shape: list[int], index: IndexMap, graph: Dataflow) -> Mask:
    return Mask(
        tuple(shape),
        trace(value, graph.definition),
        lambda at: broadcast_index(index(at), shape),
    )


def _operand(value: Any, shape: list[int], index: IndexMap, graph: Dataflow) -> Operand:
    """An operand of a product whose batch axes are broadcast to those of the softmax.

    The map of the result takes (\\*batch of the softmax, row, column of the operand).
    """

    def at_batch(at: Sequence[Any]) -> list[Any]:
        *batch, _, _ = index([*at[:-2], 0, 0])
        return [*broadcast_index(batch, shape[:-2]), *at[-2:]]

    view, scales = View(value, at_batch), []
    while True:
        step = trace(view.base, graph.definition)
        view = View(step.base, _composed(step.index, view.index))
        scaled = _scaled(view.base, graph)
        if scaled is None:
            return Operand(view, tuple(reversed(scales)))
        scales.append(scaled[1])
        view = View(scaled[0], view.index)


def _composed(outer: IndexMap, inner: IndexMap) -> IndexMap:
    return lambda at: outer(inner(at))


def _scaled(value: Any, graph: Dataflow) -> tuple[Any, float] | None:
    """The tensor and the number whose product is `value`."""
    call = graph.definition(value)
    operands = {"relax.multiply": ((0, 1), (1, 0)), "relax.divide": ((0, 1),)}
    for tensor, other in operands.get(operator_of(call), ()):
        number = constant_number(graph.definition(call.args[other]))
        if number is None or static_shape(call.args[tensor]) != static_shape(call):
            continue
        if operator_of(call) == "relax.multiply":
            return call.args[tensor], number
        if number:
            return call.args[tensor], 1.0 / number
    return None


def _results(variable: Any, shape: list[int], graph: Dataflow) -> Iterator[tuple[Any, IndexMap]]:
    """The product and the views that nothing but the next one reads, rounding to halves too."""
    place: IndexMap = list
    yield graph.definition(variable), place
    while graph.is_read_once(variable):
        reader = graph.readers(variable)[0]
        call = graph.definition(reader)
        name, after = operator_of(call), static_shape(reader)
        if after is None:
            return
        if name == "relax.astype" and str(variable.ty.dtype) == "float32":
            if str(reader.ty.dtype) not in _FLOATS:
                return
        elif name not in _RESULT_VIEWS:
            return
        elif name == "relax.permute_dims":
            place = _composed(_permuted(call, len(shape)), place)
        else:
            place = _composed(_reshaped(shape, after), place)
        yield call, place
        variable, shape = reader, after


def _permuted(call: Any, rank: int) -> IndexMap:
    axes = [int(axis) % rank for axis in call.attrs.axes or range(rank)[::-1]]
    return lambda at: [at[axis] for axis in axes]


def _reshaped(before: list[int], after: list[int]) -> IndexMap:
    return lambda at: unflatten(flatten(at, before), after)
