"""Remove channels that are always the same or never read: what structured pruning leaves behind.

Pruning upstream sets whole output channels of a layer to zero, weight and bias, and keeps the
shapes. Such a channel is a constant behind its layer: the bias; so it is behind activations, batch
norms, pooling and additions of constants. The next layer reads it as W[:, c] * constant, which is
zero, or can be added to its bias where no border of zeros is in the sum. Then the channel can be
taken out of both layers, and of all between them, exactly. So can one that no later layer reads
because its input weights are zero. What is dropped can make more superfluous: it is repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.channel_flow import Flow
from autoglm_tvm.compiler.frontend.channel_rules import follow, layer_of
from autoglm_tvm.compiler.frontend.channel_slices import Slicer, multiply_adds
from autoglm_tvm.compiler.frontend.graph import replace_items
from autoglm_tvm.compiler.frontend.infer import infer_shapes
from autoglm_tvm.compiler.frontend.prune import prune

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Layers that the note names.
_NAMED = 8
#: Each round drops what the last one has made superfluous.
_ROUNDS = 64


def drop_zero_channels(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> list[str]:
    """Remove superfluous channels of `model`, in place; types must have been inferred.

    Parameters
    ----------
    weights
        The detached weights, which are inputs of the graph; sliced ones take the place of whole
        ones, in place.

    Returns
    -------
    list of str
        What was removed from which layer, and what it saves.
    """
    flow = Flow(model.graph, weights)
    if not any(_has_zeros(flow, node) for node in model.graph.node):
        return []
    before, widths = _size(flow, model), _widths(flow, model)
    removed = False
    for _ in range(_ROUNDS):
        if not _round(model, weights):
            break
        removed = True
    if not removed:
        return []
    return _notes(model, weights, before, widths)


def _has_zeros(flow: Flow, node: onnx.NodeProto) -> bool:
    """Whether some channel of a layer or of a batch norm may be constant or unread.

    Looks at the first row and the first column of a weight before all of it.
    """
    import numpy as np

    if node.op_type == "BatchNormalization" and not node.domain:
        scale = flow.constant(node.input[1])
        return scale is not None and not scale.all()
    layer = layer_of(flow, node)
    if layer is None or layer.weight.size == 0:
        return False
    weight = layer.by_channels
    rows = np.flatnonzero(weight[:, 0, 0] == 0)
    columns = np.flatnonzero(weight[0, :, 0] == 0)
    return bool(
        (rows.size and not np.any(weight[rows], axis=(1, 2)).all())
        or (columns.size and not np.any(weight[:, columns], axis=(0, 2)).all())
    )


def _round(model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> bool:
    """Drop what can be dropped now; False where that is nothing."""
    graph = model.graph
    flow = Flow(graph, weights)
    for node in graph.node:
        follow(flow, node)
    keep = flow.kept_channels()
    if not keep:
        return False
    slicer = Slicer(graph, flow, keep)
    for node in graph.node:
        slicer.rewrite(node)
    _add_constants(model, weights, slicer.constants)
    del graph.value_info[:]
    infer_shapes(model)
    return True


def _add_constants(
    model: onnx.ModelProto, weights: dict[str, np.ndarray], constants: dict[str, np.ndarray]
) -> None:
    """Large constants lie apart where large ones do, the others inside; old ones are dropped."""
    from onnx import helper, numpy_helper

    from autoglm_tvm.compiler.frontend.weights import ALWAYS_INSIDE

    graph = model.graph
    for name, value in constants.items():
        if weights and value.nbytes >= ALWAYS_INSIDE:
            elem_type = helper.np_dtype_to_tensor_dtype(value.dtype)
            graph.input.append(helper.make_tensor_value_info(name, elem_type, value.shape))
            weights[name] = value
        else:
            graph.initializer.append(numpy_helper.from_array(value, name))
    prune(model)
    used = {name for node in graph.node for name in node.input}
    unused = {name for name in weights if name not in used}
    for name in unused:
        del weights[name]
    replace_items(graph.input, [value for value in graph.input if value.name not in unused])


def _size(flow: Flow, model: onnx.ModelProto) -> tuple[int, int]:
    """Weights and multiply-adds of all layers."""
    sizes = [multiply_adds(flow, node) for node in model.graph.node]
    return sum(size for size, _ in sizes), sum(work for _, work in sizes)


def _widths(flow: Flow, model: onnx.ModelProto) -> dict[str, int]:
    """Output channels of each layer by the name of what it makes."""
    layers = ((node, layer_of(flow, node)) for node in model.graph.node)
    return {
        node.output[0]: layer.weight.shape[layer.out_axis]
        for node, layer in layers
        if layer is not None
    }


def _notes(
    model: onnx.ModelProto,
    weights: dict[str, np.ndarray],
    before: tuple[int, int],
    widths: dict[str, int],
) -> list[str]:
    flow = Flow(model.graph, weights)
    after, narrow = _size(flow, model), _widths(flow, model)
    names = {node.output[0]: node.name for node in model.graph.node}
    changed = [name for name, width in narrow.items() if width < widths.get(name, 0)]
    count = sum(widths[name] - narrow[name] for name in changed)
    shown = [f"{names[name]} {widths[name]} -> {narrow[name]}" for name in changed[:_NAMED]]
    shown += ["..."] if len(changed) > _NAMED else []
    shares = [1 - new / old if old else 0.0 for new, old in zip(after, before, strict=True)]
    return [
        f"removed {count} channels that are constant or never read from {len(changed)} layers: "
        f"{before[0] - after[0]} weights ({shares[0]:.1%}) and {before[1] - after[1]} "
        f"multiply-adds ({shares[1]:.1%}) less",
        f"layers without their superfluous channels: {', '.join(shown)}",
    ]
