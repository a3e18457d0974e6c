"""Operators that only move elements, as maps of indices: what `permute_dims` and the like read.

A kernel that reads its operand through the composed map needs no copy in the right order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array, operator_of
from autoglm_tvm.schedules.kernel import constant

if TYPE_CHECKING:
    from tvm import tirx

# From the indices of a result to those of what it shows.
IndexMap = Callable[[Sequence[Any]], list[Any]]


@dataclass(frozen=True)
class View:
    """What an expression shows of another one.

    Attributes
    ----------
    base
        The expression that holds the elements.
    index
        Where it holds the element at given indices of the view.
    """

    base: Any
    index: IndexMap


def static_shape(value: Any) -> list[int] | None:
    """The extents of a tensor; None where one is symbolic or the rank is unknown."""
    shape = getattr(value.ty, "shape", None)
    extents = [constant(extent) for extent in shape] if shape is not None else [None]
    return None if None in extents else [extent for extent in extents if extent is not None]


def trace(value: Any, definition: Callable[[Any], Any]) -> View:
    """Follow `value` back through all operators that only move elements.

    Parameters
    ----------
    value
        A tensor of static shape.
    definition
        The expression that a variable is bound to; None for parameters.
    """
    step = view_of(definition(value), definition)
    if step is None:
        return View(value, list)
    before = trace(step.base, definition)
    return View(before.base, lambda at: before.index(step.index(at)))


def view_of(call: Any, definition: Callable[[Any], Any]) -> View | None:
    """The map of one operator; None if it computes something, or a shape is symbolic."""
    from tvm import relax

    if isinstance(call, relax.TupleGetItem):
        item: Any = call
        return _part_of_split(definition(item.tuple_value), item.index)
    build = _VIEWS.get(operator_of(call))
    if build is None:
        return None
    source, result = static_shape(call.args[0]), static_shape(call)
    if source is None or result is None:
        return None
    index = build(call, source, result)
    return None if index is None else View(call.args[0], index)


def flatten(at: Sequence[Any], shape: Sequence[int]) -> Any:
    """The place of an element in a row-major tensor."""
    place: Any = 0
    for index, extent in zip(at, shape, strict=True):
        place = place * extent + index
    return place


def unflatten(place: Any, shape: Sequence[int]) -> list[Any]:
    """The indices of the element at a place of a row-major tensor."""
    indices: list[Any] = []
    for at in range(len(shape)):
        behind = prod(shape[at + 1 :])
        index = place // behind if behind > 1 else place
        indices.append(index % shape[at] if at else index)
    return indices


def simplified(index: IndexMap, extents: Sequence[int]) -> tuple[list[tirx.Var], list[Any]]:
    """Variables that count to `extents`, and their map without needless quotients."""
    from tvm import ir, sym, tirx

    analyzer = sym.Analyzer()
    variables = [tirx.Var(f"i{at}", "int64") for at in range(len(extents))]
    for variable, extent in zip(variables, extents, strict=True):
        analyzer.bind(variable, ir.Range(_wide(0), _wide(extent)))
    return variables, [analyzer.simplify(_wide(place)) for place in index(variables)]


def simplify(index: IndexMap, extents: Sequence[int]) -> IndexMap:
    """The same map for indices below `extents`: shorter expressions, not proven again later."""
    import tvm_ffi
    from tvm import tirx

    variables, places = simplified(index, extents)

    def place(at: Sequence[Any]) -> list[Any]:
        values = {v: _wide(value) for v, value in zip(variables, at, strict=True)}
        replace = lambda variable: values.get(variable, variable)  # noqa: E731
        return [tvm_ffi.structural_map(place, (tirx.Var, replace)) for place in places]

    return place


def _wide(index: Any) -> Any:
    from tvm import tirx

    return tirx.IntImm("int64", index) if isinstance(index, int) else index


def _reshape(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    return lambda at: unflatten(flatten(at, result), source)


def _permute(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    axes = call.attrs.axes
    order = [int(axis) % len(source) for axis in axes] if axes else list(range(len(source)))[::-1]
    return lambda at: [at[order.index(axis)] for axis in range(len(source))]


def _expand_dims(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    added = {int(axis) % len(result) for axis in call.attrs.axis}
    return lambda at: [index for axis, index in enumerate(at) if axis not in added]


def _squeeze(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    axes = call.attrs.axis
    if axes is None:
        gone = {axis for axis, extent in enumerate(source) if extent == 1}
    else:
        gone = {int(axis) % len(source) for axis in axes}

    def index(at: Sequence[Any]) -> list[Any]:
        left = iter(at)
        return [0 if axis in gone else next(left) for axis in range(len(source))]

    return index


def _broadcast(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    return lambda at: broadcast_index(at, source)


def broadcast_index(at: Sequence[Any], shape: Sequence[int]) -> list[Any]:
    """Indices into a tensor of `shape` that is broadcast, aligned at the last axis."""
    inner = list(at)[len(at) - len(shape) :]
    return [0 if extent == 1 else index for index, extent in zip(inner, shape, strict=True)]


def _slice(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    axes, begins, _, *strides = (_integers(arg) for arg in call.args[1:])
    if axes is None or begins is None or (strides and strides[0] is None):
        return None
    first, steps = [0] * len(source), [1] * len(source)
    for at, axis in enumerate(axes):
        extent = source[axis]
        begin = begins[at] + extent if begins[at] < 0 else begins[at]
        steps[axis] = strides[0][at] if strides and strides[0] else 1
        if steps[axis] < 1:
            return None
        first[axis] = min(max(begin, 0), extent)
    return lambda at: [
        begin + index * step for begin, index, step in zip(first, at, steps, strict=True)
    ]


def _take(call: Any, source: list[int], result: list[int]) -> IndexMap | None:
    """One constant index: the axis vanishes."""
    which = constant_array(call.args[1])
    if which is None or which.ndim or call.attrs.axis is None:
        return None
    axis, number = int(call.attrs.axis) % len(source), int(which)
    if not 0 <= number < source[axis]:
        return None
    return lambda at: [*list(at)[:axis], number, *list(at)[axis:]]


def _part_of_split(call: Any, number: int) -> View | None:
    source = static_shape(call.args[0]) if operator_of(call) == "relax.split" else None
    if source is None:
        return None
    axis = int(call.attrs.axis) % len(source)
    cuts = call.attrs.indices_or_sections
    sections = constant(cuts)
    if sections is None:
        first = ([0, *(int(cut) for cut in cuts)])[number]
    else:
        first = -(-source[axis] // sections) * number

    def index(at: Sequence[Any]) -> list[Any]:
        return [at[i] + first if i == axis else at[i] for i in range(len(source))]

    return View(call.args[0], index)


def _integers(value: Any) -> list[int] | None:
    """The numbers of a tuple expression."""
    numbers = [constant(getattr(field, "value", field)) for field in getattr(value, "fields", [])]
    return None if None in numbers else [number for number in numbers if number is not None]


_VIEWS: dict[str, Callable[[Any, list[int], list[int]], IndexMap | None]] = {
    "relax.reshape": _reshape,
    "relax.flatten": _reshape,
    "relax.permute_dims": _permute,
    "relax.expand_dims": _expand_dims,
    "relax.squeeze": _squeeze,
    "relax.broadcast_to": _broadcast,
    "relax.strided_slice": _slice,
    "relax.take": _take,
}
