"""Make the kernel of an attention that `attention_pattern.py` found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.compiler.passes.attention_parts import Attention, Mask, Operand, Step
from autoglm_tvm.compiler.passes.views import IndexMap, simplified, simplify, static_shape
from autoglm_tvm.schedules.attention_plan import Plan, choose_plan, tuned_plan
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.attention import RESULT, MaskSource, Sources, attention
from autoglm_tvm.schedules.workload import attention_workload

# Nothing is fused into it (kOpaque).
_OPAQUE = 8
# Queries of one head up to which the heads that share a key head are computed as rows of one head.
_FEW_ROWS = 8


@dataclass(frozen=True)
class AttentionKernel:
    """A kernel, and what it stands for.

    Attributes
    ----------
    call
        The call of the graph that it replaces.
    operands
        The expressions that it reads, in the order of its parameters.
    function
        The ``PrimFunc``.
    """

    call: Any
    operands: list[Any]
    function: Any


def attention_kernel(found: Attention, machine: Machine, choices: Choices) -> AttentionKernel:
    """Make the kernel of an attention, with as many views of its result as TVM can express.

    Raises
    ------
    ValueError
        TVM cannot even store the product itself, which would be a defect.
    """
    from tvm import te

    heads = _Heads(found)
    for call, place in reversed(found.results):
        dtype = str(call.ty.dtype)
        sizes = (found.keys, found.depth, found.width)
        workload = attention_workload(heads.outer, *sizes, dtype)

        def lower(
            config: Config, dtype: str = dtype, place: Any = place, workload: str = workload
        ) -> Lowering:
            tensors = _placeholders(found)
            plan = tuned_plan(heads.plan(machine), config)
            result = attention(_sources(found, heads, tensors), plan, dtype, workload)
            function = te.create_prim_func([*tensors.values(), result])
            index = lambda at: place([*heads.place(at[:-1]), at[-1]])  # noqa: E731
            stored = _stored(function, index, (*heads.outer, found.width))
            return Lowering(function=stored and stored.with_attr("op_pattern", _OPAQUE))

        function = choices.lower(workload, Anchor(lower, ())).function
        if function is not None:
            return AttentionKernel(call, list(_placeholders(found)), function)
    raise ValueError("no layout of the result can be expressed")


def _placeholders(found: Attention) -> dict[Any, Any]:
    """The tensors that the kernel reads, by the expressions that they stand for."""
    from tvm import te, tirx

    rows = [found.zeroed] if isinstance(found.zeroed, Mask) else []
    read = (found.query, found.key, found.value, *_masks(found), *rows)
    views = [operand.view for operand in read]
    tensors: dict[Any, Any] = {}
    for view in views:
        if view.base not in tensors:
            shape = [tirx.IntImm("int64", extent) for extent in static_shape(view.base) or []]
            name = f"operand{len(tensors)}"
            tensors[view.base] = te.placeholder(shape, str(view.base.ty.dtype), name)
    return tensors


def _masks(found: Attention) -> list[Mask]:
    """The masks of the scores."""
    return [mask for step in found.steps for mask in step.operands if isinstance(mask, Mask)]


def _zeroed(
    found: Attention, heads: _Heads, tensors: dict[Any, Any]
) -> Callable[[Sequence[Any], Any], Any] | None:
    """Whether a row (outer indices, row) is to be zero."""
    if not isinstance(found.zeroed, Mask):
        return None
    source = _mask_source(found.zeroed, tensors, heads)
    return lambda at, row: source.read(*source.index(at, row, 0))


def _sources(found: Attention, heads: _Heads, tensors: dict[Any, Any]) -> Sources:
    one_head = lambda at: heads.batch(at, 0)  # noqa: E731
    query = _reader(found.query, tensors, heads.place, heads.outer, (found.depth,))
    key = _reader(found.key, tensors, one_head, heads.groups, (found.depth, found.keys))
    value = _reader(found.value, tensors, one_head, heads.groups, (found.keys, found.width))
    return Sources(
        query=lambda at, row, element: query((*at, row), element),
        key=lambda group, which, element: key(group, element, which),
        value=value,
        score=lambda total, values: _score(found.steps, total, values),
        masks=tuple(_mask_source(mask, tensors, heads) for mask in _masks(found)),
        nan_is_zero=found.zeroed == "nan",
        is_zero=_zeroed(found, heads, tensors),
    )


class _Heads:
    """How batch and rows of an attention are split among key heads.

    Attributes
    ----------
    copies
        Query heads of one key head.
    groups
        Extents of what has keys of its own: (\\*batch, key heads).
    outer
        Extents (\\*groups, shared, rows) of the kernel: few rows of several heads are one head's.
    """

    def __init__(self, found: Attention) -> None:
        self.found = found
        self.copies = _copies(found)
        self.folded = self.copies > 1 and found.rows < _FEW_ROWS
        self.groups = (*found.batch[:-1], found.batch[-1] // self.copies)
        rows = (1, self.copies * found.rows) if self.folded else (self.copies, found.rows)
        self.outer = (*self.groups, *rows)

    def plan(self, machine: Machine) -> Plan:
        """The plan of the kernel."""
        found, (shared, rows) = self.found, self.outer[-2:]
        return choose_plan(self.groups, shared, rows, found.keys, found.depth, found.width, machine)

    def batch(self, group: Sequence[Any], copy: Any) -> list[Any]:
        """Indices of the batch axes."""
        return [*group[:-1], group[-1] * self.copies + copy]

    def place(self, at: Sequence[Any]) -> list[Any]:
        """Batch axes and row of (\\*groups, shared, row)."""
        *group, copy, row = at
        if self.folded:
            copy, row = row // self.found.rows, row % self.found.rows
        return [*self.batch(group, copy), row]


def _copies(found: Attention) -> int:
    """How many neighbouring heads read the same keys and values."""
    heads = found.batch[-1]
    for copies in range(heads, 1, -1):
        if heads % copies == 0 and all(
            _is_shared(operand, last, found.batch, copies)
            for operand, last in (
                (found.key, (found.depth, found.keys)),
                (found.value, (found.keys, found.width)),
            )
        ):
            return copies
    return 1


def _is_shared(
    operand: Operand, last: tuple[int, int], batch: tuple[int, ...], copies: int
) -> bool:
    from tvm import tirx

    def index(at: Sequence[Any]) -> list[Any]:
        *group, copy, row, column = at
        return operand.view.index([*group[:-1], group[-1] * copies + copy, row, column])

    variables, indices = simplified(index, (*batch[:-1], batch[-1] // copies, copies, *last))
    used = [v for index in indices for v in tirx.analysis.undefined_vars(index)]
    return not any(variable.same_as(variables[-3]) for variable in used)


def _reader(
    operand: Operand,
    tensors: dict[Any, Any],
    place: Callable[[Sequence[Any]], list[Any]],
    outer: tuple[int, ...],
    last: tuple[int, ...],
) -> Callable[..., Any]:
    """Return a function of indices below `outer`, and below `last`, that reads the operand.

    `place` makes the operand's own first indices of the former.
    """
    from tvm import tirx

    index = simplify(
        lambda at: operand.view.index([*place(at[: len(outer)]), *at[len(outer) :]]),
        (*outer, *last),
    )

    def read(at: Sequence[Any], *last: Any) -> Any:
        value = tensors[operand.view.base](*index([*at, *last])).astype("float32")
        for scale in operand.scales:
            value = value * tirx.const(scale, "float32")
        return value

    return read


def _mask_source(mask: Mask, tensors: dict[Any, Any], heads: _Heads) -> MaskSource:
    view = simplify(mask.view.index, mask.shape)
    index = simplify(
        lambda at: mask.index([*heads.place(at[:-1]), at[-1]]), (*heads.outer, heads.found.keys)
    )
    return MaskSource(
        mask.shape,
        lambda *at: tensors[mask.view.base](*view(at)),
        lambda at, row, key: index([*at, row, key]),
    )


def _score(steps: tuple[Step, ...], total: Any, values: list[Any]) -> Any:
    """Apply the steps to a sum of products; `values` are those of the masks."""
    from tvm import tirx

    left = iter(values)
    for step in steps:
        operands = []
        for operand in step.operands:
            if operand is None:
                operands.append(total)
            elif isinstance(operand, Mask):
                operands.append(next(left))
            else:
                operands.append(tirx.const(operand, step.dtype))
        divisor = step.operands[-1]
        if step.operator == "relax.astype":
            total = total.astype(step.dtype)
        elif step.operator == "relax.divide" and isinstance(divisor, float) and divisor:
            total = total * tirx.const(1.0 / divisor, step.dtype)
        else:
            total = _COMPUTE[step.operator](*operands)
    return total


def _select(condition: Any, yes: Any, no: Any) -> Any:
    from tvm import tirx

    return tirx.Select(condition, yes, no)


def _tanh(value: Any) -> Any:
    from tvm import tirx

    return tirx.tanh(value)


_COMPUTE: dict[str, Callable[..., Any]] = {
    "relax.add": lambda a, b: a + b,
    "relax.subtract": lambda a, b: a - b,
    "relax.multiply": lambda a, b: a * b,
    "relax.divide": lambda a, b: a / b,
    "relax.where": _select,
    "relax.tanh": _tanh,
}


def _stored(function: Any, index: IndexMap, extents: tuple[int, ...]) -> Any:
    """The kernel with its result stored through `index`; None where TVM cannot invert that."""
    from tvm import s_tir, tirx

    variables, places = simplified(index, extents)
    schedule = s_tir.Schedule(function)
    try:
        schedule.transform_layout(
            schedule.get_sblock(RESULT), ("write", 0), tirx.IndexMap(variables, places, None)
        )
    except (s_tir.ScheduleError, ValueError, RuntimeError):
        return None
    return schedule.mod["main"].without_attr("global_symbol")
