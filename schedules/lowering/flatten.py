"""Give every buffer one axis, before its indices are simplified if that is possible.

TVM's `FlattenBuffer` finds again that quotient and remainder of one index walk memory in order,
which simplified indices do not show any more. But it divides by zero on some that are not
simplified, such as `(2 * i + j) // 2` in a tile of one row: those are simplified first.
"""

from __future__ import annotations

from typing import Any


def flatten_buffers() -> Any:
    """The pass, which takes each function on its own."""
    from tvm import transform

    return transform.module_pass(_flatten_all, opt_level=0, name="autoglm.FlattenBuffers")


def _flatten_all(module: Any, _context: Any) -> Any:
    from tvm import IRModule, tirx

    flat = {
        variable: _flatten(variable, function) if isinstance(function, tirx.PrimFunc) else function
        for variable, function in module.functions.items()
    }
    return IRModule(flat, attrs=module.attrs)


def _flatten(variable: Any, function: Any) -> Any:
    from tvm import IRModule, tirx
    from tvm.error import InternalError

    flatten, alone = tirx.transform.FlattenBuffer(), IRModule({variable: function})
    try:
        return flatten(alone)[variable]
    except InternalError:
        return flatten(tirx.transform.StmtSimplify()(alone))[variable]
