"""Keep gathers inside their table.

TVM's `take` reads wherever an index points: one token id past the vocabulary ends the app. Clipped
to the table it costs two instructions an index. ONNX leaves such an index undefined (Gather-13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tvm import IRModule


def clip_gather(module: IRModule) -> IRModule:
    """Return the module with every ``take`` of ``main`` in clip mode."""
    from tvm import relax
    from tvm.relax.dpl import is_op, rewrite_call, wildcard

    data, indices = wildcard(), wildcard()
    pattern = is_op("relax.take")(data, indices)

    def rewrite(expr: Any, matches: Any) -> Any:
        take = matches[pattern]
        if take.attrs["mode"] == "clip":
            return expr
        axis = take.attrs["axis"]
        return relax.op.take(
            matches[data], matches[indices], None if axis is None else int(axis), mode="clip"
        )

    main = rewrite_call(pattern, rewrite, module["main"])
    module.update_func(module.get_global_var("main"), main)
    return module
