"""Fold constants and shape arithmetic, and never trust the tool that did it.

onnxslim goes first (only its constant folding: its fusions rename tensors and change the
arithmetic), then onnxruntime's offline basic level. Neither sees the values of quantized weights,
so that those stay quantized. Each works on a copy; its result counts only
if the interface is kept, no foreign operator came in, the checker passes, and onnxruntime computes
the same from both models; a note says where onnxruntime cannot run them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.equivalence import compare
from autoglm_tvm.compiler.frontend.fold_onnxruntime import fold_with_onnxruntime
from autoglm_tvm.compiler.frontend.fold_onnxslim import fold_with_onnxslim
from autoglm_tvm.compiler.frontend.graph import walk_nodes
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.frontend.interface import Interface
from autoglm_tvm.compiler.frontend.prune import prune
from autoglm_tvm.compiler.frontend.quantized.constants import (
    hide_quantized_constants,
    show_quantized_constants,
)

if TYPE_CHECKING:
    import numpy as np
    import onnx

Folder = Callable[["onnx.ModelProto"], "onnx.ModelProto"]

#: The tools, in the order in which they are tried.
FOLDERS: tuple[tuple[str, Folder], ...] = (
    ("onnxslim", fold_with_onnxslim),
    ("onnxruntime", fold_with_onnxruntime),
)


def fold_constants(
    model: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    folders: tuple[tuple[str, Folder], ...] = FOLDERS,
) -> list[str]:
    """Fold `model` in place with the first tool whose result can be trusted.

    Parameters
    ----------
    weights
        The detached weights, which are inputs of the graph; needed to compare results.

    Returns
    -------
    list of str
        Why a tool's result was not taken, and how many nodes folding removed.
    """
    notes: list[str] = []
    before = _count(model)
    for name, folder in folders:
        folded, reason = _try(model, folder, weights)
        if folded is not None:
            changed = folded != model
            model.CopyFrom(folded)
            if _count(model) < before:
                notes.append(f"{name} folded {before} nodes into {_count(model)}")
            if reason and changed:
                notes.append(f"what {name} folded was not compared with the original: {reason}")
            return notes
        notes.append(f"{name} was not used for folding: {reason}")
    notes.append("the graph is unfolded, so shape arithmetic may be refused later")
    return notes


def _try(
    model: onnx.ModelProto, folder: Folder, weights: Mapping[str, np.ndarray]
) -> tuple[onnx.ModelProto | None, str]:
    """Return the folded model and why it was not compared ('' if it was), or None and why not."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    interface = Interface.of(model)
    try:
        hidden = hide_quantized_constants(copy)
        folded = folder(copy)
        show_quantized_constants(folded, hidden)
    except Exception as err:
        # Both tools raise whatever their libraries raise; folding is optional, so any failure only
        # means that this tool cannot do it.
        lines = str(err).strip().splitlines() or [type(err).__name__]
        return None, lines[0][:200]
    reason = interface.restore(folded) or _foreign(model, folded) or _invalid(folded)
    if reason is None:
        prune(folded)
        infer_shapes(folded)
        result = compare(model, folded, weights)
        if result.difference is None:
            return folded, result.not_compared or ""
        reason = result.difference
    return None, reason


def _count(model: onnx.ModelProto) -> int:
    return sum(1 for _ in walk_nodes(model.graph))


def _foreign(before: onnx.ModelProto, after: onnx.ModelProto) -> str | None:
    """Say which operator a tool brought in that the model did not have, if any."""

    def kinds(model: onnx.ModelProto) -> Counter:
        return Counter((node.domain, node.op_type) for _, node in walk_nodes(model.graph))

    was, now = kinds(before), kinds(after)
    harmless = {("", "Identity"), ("", "Constant")}
    added = sorted(kind for kind in now if now[kind] > was[kind] and kind not in harmless)
    return f"it added {added[0][0] or 'ai.onnx'}::{added[0][1]}" if added else None


def _invalid(model: onnx.ModelProto) -> str | None:
    import onnx

    # The checker wants a shape on every output; inference may not have found one yet.
    shapeless = [
        value.type.tensor_type
        for value in model.graph.output
        if not value.type.tensor_type.HasField("shape")
    ]
    for tensor in shapeless:
        tensor.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as err:
        return f"its result is no valid model: {str(err).splitlines()[0]}"
    finally:
        for tensor in shapeless:
            tensor.ClearField("shape")
    return None
