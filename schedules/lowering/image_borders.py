"""Take the border of an image out of the loop that copies it.

    for column in the image and its border:         for column left of the image: the border
        copy of if(row and column are inside)       if all rows are inside:
                    a pixel                             for column in the image: pixels
                else the border                     else:
                                                        for column in the image: if(row ...) ...
                                                    for column right of it: the border

A schedule marks the loop over columns.
"""

from __future__ import annotations

from typing import Any

# Annotation of the loop over columns: columns before the image, and columns of the image.
COLUMNS = "autoglm.image_columns"


def split_image_borders() -> Any:
    """The pass, for loops over flat buffers; the conditions left over are to be simplified."""
    from tvm import s_tir, tirx, transform

    split = tirx.transform.prim_func_pass(_split, opt_level=0, name="autoglm.SplitImageBorders")
    # The copies of a loop get variables of their own.
    return transform.Sequential([split, s_tir.transform.ConvertSSA()])


def _split(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    def split(loop: Any) -> Any:
        return _pieces(loop) if COLUMNS in loop.annotations else loop

    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.For, split)))


def _pieces(loop: Any) -> Any:
    from tvm import tirx

    left, width = (int(number) for number in loop.annotations[COLUMNS])
    extent = int(loop.extent)
    end = min(left + width, extent)
    pieces = []
    if left:
        pieces.append(_part(loop, 0, min(left, extent), loop.body))
    if end > left:
        conditions, free = _row_conditions(loop)
        plain = _part(loop, left, end - left, loop.body)
        inside = _part(loop, left, end - left, free)
        whole = tirx.IfThenElse(tirx.all(*conditions), inside, plain) if conditions else plain
        pieces.append(whole)
    if extent > left + width:
        pieces.append(_part(loop, left + width, extent - left - width, loop.body))
    return tirx.stmt_seq(*pieces)


def _part(loop: Any, first: int, count: int, body: Any) -> Any:
    """The iterations from `first` on; their range is what conditions are simplified by."""
    from tvm import tirx

    dtype = str(loop.loop_var.ty.dtype)
    low, extent = tirx.const(first, dtype), tirx.const(count, dtype)
    return tirx.For(loop.loop_var, low, extent, tirx.ForKind.SERIAL, body)


def _row_conditions(loop: Any) -> tuple[list[Any], Any]:
    """The conditions that are the same for all columns, and the body with all of them true."""
    import tvm_ffi
    from tvm import ir, tirx

    inner = {loop.loop_var}
    tvm_ffi.structural_walk(loop.body, (tirx.For, lambda node: inner.add(node.loop_var)))
    found: list[Any] = []

    def assume(call: Any) -> Any:
        if getattr(call.op, "name", "") != "prim.if_then_else":
            return call
        free, rest = [], []
        for condition in _conjuncts(call.args[0]):
            fixed = not inner & set(tirx.analysis.undefined_vars(condition))
            (free if fixed else rest).append(condition)
        for condition in free:
            if not any(tvm_ffi.structural_equal(condition, other) for other in found):
                found.append(condition)
        if not rest:
            return call.args[1]
        return tirx.if_then_else(tirx.all(*rest), *call.args[1:]) if free else call

    return found, tvm_ffi.structural_map(loop.body, (ir.Call, assume))


def _conjuncts(condition: Any) -> list[Any]:
    """What has to hold all together; TVM makes one condition of nested ones."""
    from tvm import tirx

    if not isinstance(condition, tirx.And):
        return [condition]
    both: Any = condition
    return [*_conjuncts(both.a), *_conjuncts(both.b)]
