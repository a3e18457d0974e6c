"""Take the conditions of a depthwise convolution's borders out of its inner loops.

What the schedule leaves:             What becomes of it:

    for row:                              for row:
        for tile:                             if row < rows:
            for kernel_row:                       first tile (tile = 0):
                unrolled pixels:                      for kernel_row:
                    if row < rows:                        if the row is in the image:
                        sum += (pixel if it is                sum += pixel * weight
                            in the image                  tiles in the middle: the same
                            else 0) * weight              last tile: the same

Additions of zeros are left out. Whether a column is in the image is known while compiling in the
first and in the last tile, and always true between them. TVM's `LoopPartition` does the same for
the tiles, but mixes int32 with the int64 of the loop's variable and then fails.
"""

from __future__ import annotations

from typing import Any

# Annotations of the loops that are rewritten.
ROWS = "depthwise.rows"
TILES = "depthwise.tiles"
KERNEL_ROWS = "depthwise.kernel_rows"


def cut_borders(function: Any, update: Any, segments: list[tuple[int, int]]) -> Any:
    """Return the scheduled kernel with conditions where they are decided.

    Parameters
    ----------
    function
        A kernel whose padding is inlined into its sums, with the annotated loops.
    update
        Its block that adds one product to a sum.
    segments
        First tile and number of tiles of each piece of a row; none to leave it whole.
    """
    import tvm
    import tvm_ffi
    from tvm import s_tir, tirx

    realize = _use(function, update)
    block, conditions = _without_row_conditions(realize)
    copies: list[Any] = []

    def replace(node: Any) -> Any:
        return block if node.same_as(update) else node

    def rewrite(loop: Any) -> Any:
        if KERNEL_ROWS in loop.annotations:
            return _plain(loop, _if(conditions, loop.body))
        if TILES in loop.annotations:
            return _plain(loop, loop.body) if not segments else _cut(loop, segments, copies)
        if ROWS in loop.annotations:
            return _plain(loop, _row_condition_first(loop.body))
        return loop

    callbacks = [(s_tir.SBlock, replace), (tirx.For, rewrite)]
    body = tvm_ffi.structural_map(function.body, callbacks)
    root = _with_buffers(body.block, copies)
    whole = function.with_body(s_tir.SBlockRealize([], True, root))
    # The copies of a loop get variables of their own.
    return s_tir.transform.ConvertSSA()(tvm.IRModule({"main": whole}))["main"]


def _use(function: Any, block: Any) -> Any:
    """Where the block stands in its loops."""
    import tvm_ffi
    from tvm import s_tir

    found: list[Any] = []

    def look(realize: Any) -> None:
        if realize.block.same_as(block):
            found.append(realize)

    tvm_ffi.structural_walk(function.body, (s_tir.SBlockRealize, look))
    return found[0]


def _without_row_conditions(realize: Any) -> tuple[Any, list[Any]]:
    """The block without the conditions that do not depend on the column, and these, in loops."""
    import tvm_ffi
    from tvm import ir, tirx

    axes = realize.block.iter_vars
    values = {axis.var: value for axis, value in zip(axes, realize.iter_values, strict=True)}
    columns = {axes[2].var, axes[5].var}
    rows: list[Any] = []

    def strip(call: Any) -> Any:
        if call.op.name != "prim.if_then_else":
            return call
        inside, pixel, zero = call.args
        kept = []
        for condition in conjuncts(inside):
            if variables(condition) & columns:
                kept.append(condition)
            else:
                rows.append(_substitute(condition, values))
        return tirx.if_then_else(tirx.all(*kept), pixel, zero) if kept else pixel

    return tvm_ffi.structural_map(realize.block, (ir.Call, strip)), rows


def _cut(loop: Any, segments: list[tuple[int, int]], copies: list[Any]) -> Any:
    """The loop as one piece for each segment; new buffers of sums are added to `copies`."""
    from tvm import tirx

    variable, dtype = loop.loop_var, loop.loop_var.ty.dtype
    pieces = []
    for number, (first, count) in enumerate(segments):
        body = loop.body if number == 0 else _with_own_sums(loop.body, copies)
        if count == 1:
            pieces.append(_substitute(body, {variable: tirx.const(first, dtype)}))
            continue
        inner = tirx.Var(variable.name, dtype)
        body = _substitute(body, {variable: inner + first})
        pieces.append(tirx.For(inner, loop.min, tirx.const(count, dtype), loop.kind, body))
    return tirx.stmt_seq(*pieces)


def _with_own_sums(body: Any, copies: list[Any]) -> Any:
    """The statement with buffers of its own in place of each "local" one that it writes."""
    import tvm_ffi
    from tvm import tirx

    own: dict[Any, Any] = {}

    def find(store: Any) -> None:
        buffer = store.buffer
        if buffer.scope() == "local" and buffer not in own:
            own[buffer] = tirx.decl_buffer(
                buffer.ty.shape, buffer.ty.dtype, buffer.name, scope="local"
            )

    tvm_ffi.structural_walk(body, (tirx.BufferStore, find))
    copies.extend(own.values())
    return _substitute(body, own)


def _row_condition_first(body: Any) -> Any:
    """Move conditions that are the same for a whole row from the blocks to the top."""
    import tvm_ffi
    from tvm import s_tir, tirx

    inner: set[Any] = set()
    tvm_ffi.structural_walk(body, (tirx.For, lambda loop: inner.add(loop.loop_var)))
    found: list[Any] = []

    def strip(realize: Any) -> Any:
        kept = []
        for condition in conjuncts(realize.predicate):
            if variables(condition) & inner:
                kept.append(condition)
            elif not any(tvm_ffi.structural_equal(condition, other) for other in found):
                found.append(condition)
        return s_tir.SBlockRealize(realize.iter_values, tirx.all(*kept, True), realize.block)

    body = tvm_ffi.structural_map(body, (s_tir.SBlockRealize, strip))
    return _if(found, body)


def _if(conditions: list[Any], body: Any) -> Any:
    from tvm import tirx

    return tirx.IfThenElse(tirx.all(*conditions), body, None) if conditions else body


def _plain(loop: Any, body: Any) -> Any:
    """The loop around another body, without annotations."""
    from tvm import tirx

    return tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)


def _with_buffers(root: Any, buffers: list[Any]) -> Any:
    from tvm import s_tir

    return s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        root.body,
        root.init,
        [*root.alloc_buffers, *buffers],
        root.match_buffers,
        root.annotations,
    )


def variables(expression: Any) -> set[Any]:
    """The variables in it."""
    from tvm import tirx

    return set(tirx.analysis.undefined_vars(expression))


def conjuncts(condition: Any) -> list[Any]:
    """The conditions that have to hold together."""
    from tvm import tirx

    both: Any = condition
    if isinstance(condition, tirx.And):
        return [*conjuncts(both.a), *conjuncts(both.b)]
    return [condition]


def _substitute(node: Any, values: dict[Any, Any]) -> Any:
    import tvm_ffi
    from tvm import tirx

    return tvm_ffi.structural_map(node, (tirx.Var, lambda var: values.get(var, var)))
