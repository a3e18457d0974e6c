"""Bring the next panel of a weight into the second cache while this one is multiplied.

Weights of a network come from memory once a run. The processor's own prefetcher follows a panel
only as it is read: the first tile of rows waits, all others find it in the cache. A schedule marks
the innermost loop of the sums, and the outermost loop of those that read one panel again and again;
this pass spreads prefetches of the next panel evenly over their iterations.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from autoglm_tvm.schedules.intrinsics.operators import prefetch
from autoglm_tvm.schedules.kernel import constant

# Annotation of the innermost loop of the sums: elements of a panel.
PANEL = "autoglm.prefetch_panel"
# Annotation of the outermost loop within which one panel is read.
AGAIN = "autoglm.prefetch_again"
# Annotation of a loop that reads a weight in order, once.
STREAM = "autoglm.prefetch_stream"
_LINE_BYTES = 64
# How far ahead: the time that memory takes, times what a core reads meanwhile.
_AHEAD_BYTES = 8192


def prefetch_panels() -> Any:
    """The pass, for loops over flat buffers."""
    from tvm import tirx

    return tirx.transform.prim_func_pass(_insert, opt_level=0, name="autoglm.PrefetchPanels")


def _insert(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    def outermost(loop: Any) -> Any:
        if AGAIN not in loop.annotations:
            return loop
        plain = _without(loop, AGAIN)
        return _within(plain, [plain])

    def stream(loop: Any) -> Any:
        return _ahead_of(loop) if STREAM in loop.annotations else loop

    body = tvm_ffi.structural_map(function.body, (tirx.For, outermost))
    return function.with_body(tvm_ffi.structural_map(body, (tirx.For, stream)))


def _ahead_of(loop: Any) -> Any:
    """`loop` with prefetches of the lines that it will read `_AHEAD_BYTES` later."""
    import tvm_ffi
    from tvm import sym, tirx

    plain = _without(loop, STREAM)
    load = _weight_load(plain, tirx.Var("nothing", "int64"))
    if load is None:
        return plain
    inner = {var: tirx.const(0, str(var.ty.dtype)) for var in _bound(plain.body)}
    (index,) = load.indices

    def at(iteration: Any) -> Any:
        values = inner | {plain.loop_var: iteration}
        return tvm_ffi.structural_map(index, (tirx.Var, lambda var: values.get(var, var)))

    variable = plain.loop_var
    first = at(variable)
    stride: Any = sym.Analyzer().simplify(at(variable + 1) - first)
    size = load.source.dtype.itemsize
    lines = [
        tirx.Evaluate(prefetch(load.source[first + ahead // size], near=True))
        for ahead in range(_AHEAD_BYTES, _AHEAD_BYTES + int(stride) * size, _LINE_BYTES)
    ]
    # A loop of a single iteration reads nothing further on.
    return _with_body(plain, tirx.SeqStmt([*lines, plain.body])) if lines else plain


def _within(loop: Any, around: list[Any]) -> Any:
    """`loop` with prefetches where a loop inside of it, or it itself, is marked."""
    from tvm import tirx

    if PANEL in loop.annotations:
        elements = int(loop.annotations[PANEL])
        plain = _without(loop, PANEL)
        ahead = _prefetches(plain, around, elements)
        return _with_body(plain, tirx.SeqStmt([*ahead, plain.body]) if ahead else plain.body)
    return _with_body(loop, _in_body(loop.body, around))


def _in_body(body: Any, around: list[Any]) -> Any:
    from tvm import tirx

    if isinstance(body, tirx.For):
        return _within(body, [*around, body])
    if isinstance(body, tirx.SeqStmt):
        return tirx.SeqStmt([_in_body(part, around) for part in body.seq])
    return body


def _prefetches(loop: Any, around: list[Any], elements: int) -> list[Any]:
    """As many as it takes so that all iterations together fetch a panel."""
    import tvm_ffi
    from tvm import tirx

    load = _weight_load(loop, around[0].loop_var)
    extents = [constant(outer.extent) for outer in around]
    if load is None or None in extents:
        return []
    at: Any = tirx.const(0, "int64")
    count = 1
    for outer, extent in zip(around, extents, strict=True):
        at = at * extent + outer.loop_var.astype("int64")
        count *= extent or 1
    per_line = _LINE_BYTES // load.source.dtype.itemsize
    each = ceil(ceil(elements / per_line) / count)
    inside = {outer.loop_var: tirx.const(0, str(outer.loop_var.ty.dtype)) for outer in around}
    inside |= {var: tirx.const(0, str(var.ty.dtype)) for var in _bound(loop.body)}
    (index,) = load.indices
    base = tvm_ffi.structural_map(index, (tirx.Var, lambda var: inside.get(var, var)))
    first = base + elements
    return [
        tirx.Evaluate(prefetch(load.source[first + (at * each + line) * per_line]))
        for line in range(each)
    ]


def _weight_load(loop: Any, again: Any) -> Any:
    """A read of the panel: along vectors, from memory, and the same for all that read it again."""
    import tvm_ffi
    from tvm import ir, tirx

    lanes: list[Any] = []
    found: list[Any] = []

    def note(inner: Any) -> None:
        if inner.kind == tirx.ForKind.VECTORIZED:
            lanes.append(inner.loop_var)

    def take(load: Any) -> None:
        used = tirx.analysis.undefined_vars(load.indices[0])
        along = any(lane.same_as(var) for lane in lanes for var in used)
        if along and load.source.scope() != "local" and not any(map(again.same_as, used)):
            found.append(load)

    tvm_ffi.structural_walk(loop.body, (tirx.For, note))
    tvm_ffi.structural_walk(loop.body, (ir.TensorLoad, take))
    return found[0] if found else None


def _bound(body: Any) -> list[Any]:
    """The variables of the loops in `body`."""
    import tvm_ffi
    from tvm import tirx

    variables: list[Any] = []
    tvm_ffi.structural_walk(body, (tirx.For, lambda loop: variables.append(loop.loop_var)))
    return variables


def _without(loop: Any, annotation: str) -> Any:
    kept = {key: value for key, value in loop.annotations.items() if key != annotation}
    return _with_body(loop, loop.body, kept)


def _with_body(loop: Any, body: Any, annotations: dict[str, Any] | None = None) -> Any:
    from tvm import tirx

    return tirx.For(
        loop.loop_var,
        loop.min,
        loop.extent,
        loop.kind,
        body,
        loop.thread_binding,
        loop.annotations if annotations is None else annotations,
        loop.step,
    )
