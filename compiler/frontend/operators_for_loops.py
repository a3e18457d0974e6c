"""Let the importer write Clip and Pad as graph operators.

TVM's importer lowers them to loop nests right away, which no graph pass knows any more: layout
conversion stops there, with a transpose on either side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def prefer_operators(builder: Any) -> Callable[..., Any]:
    """Return what is to take the place of the importer's ``builder.emit_te``."""
    from tvm import ir, relax, topi

    plain = builder.emit_te
    arithmetic = {topi.maximum: relax.op.maximum, topi.minimum: relax.op.minimum}

    def emit_te(function: Any, *args: Any, **kwargs: Any) -> Any:
        if function in arithmetic:
            value, bound = args
            if not isinstance(bound, ir.Expr):
                bound = relax.const(bound, str(value.ty.dtype))
            return builder.emit(arithmetic[function](value, bound))
        if function is topi.nn.pad and isinstance(args[3], float):
            data, before, after, value = args
            widths = [int(width) for pair in zip(before, after, strict=True) for width in pair]
            return builder.emit(relax.op.nn.pad(data, widths, "constant", value))
        return plain(function, *args, **kwargs)

    return emit_te
