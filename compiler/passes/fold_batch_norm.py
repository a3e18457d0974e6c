"""Fold a batch normalisation into the convolution or the matmul before it.

For y = scale * (conv(x, W) + b - mean) / sqrt(var + eps) + shift, with k = scale / sqrt(var + eps):

    y = conv(x, k * W) + (k * (b - mean) + shift)

where k multiplies W along its output channels (Ioffe and Szegedy, 2015, section 3.1). TVM's own
`FoldBatchnormToConv2D` knows conv2d without a bias only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

# Axis of the output channels in the weight, for each operator and kernel layout that can be folded.
_OUTPUT_AXIS = {
    ("relax.nn.conv1d", "OIW"): 0,
    ("relax.nn.conv2d", "OIHW"): 0,
    ("relax.nn.conv3d", "OIDHW"): 0,
    ("relax.nn.conv1d_transpose", "IOW"): 1,
    ("relax.nn.conv2d_transpose", "IOHW"): 1,
}


def fold_batch_norm(module: IRModule) -> IRModule:
    """Return the module with every foldable batch normalisation of ``main`` folded.

    Folded are those whose statistics, weight and bias are constants, behind a convolution with
    NC* layout whose result, and whose sum with the bias, nothing else reads. A transposed
    convolution with groups is left alone: its output channels are not one axis of the weight.
    """
    from tvm import relax
    from tvm.relax.dpl import TupleGetItemPattern, is_const, is_op, rewrite_call, wildcard

    for (operator, kernel_layout), axis in _OUTPUT_AXIS.items():
        data, weight, bias = wildcard(), is_const(), is_const()
        convolution = is_op(operator)(data, weight)
        biased = is_op("relax.add")(convolution, bias)
        statistics = [is_const() for _ in range(4)]
        normalised = is_op("relax.nn.batch_norm")(convolution | biased, *statistics)
        pattern = TupleGetItemPattern(normalised, 0)

        def rewrite(
            expr: Any,
            matches: Any,
            layout: str = kernel_layout,
            axis: int = axis,
            parts: tuple[Any, ...] = (data, weight, bias, convolution, normalised),
            statistics: Any = statistics,
        ) -> Any:
            data, weight, bias, convolution, normalised = parts
            call, norm = matches[convolution], matches[normalised]
            transposed_groups = axis == 1 and int(call.attrs["groups"]) != 1
            inference = not bool(norm.attrs["training"])
            if call.attrs["kernel_layout"] != layout or transposed_groups or not inference:
                return expr
            old_weight = matches[weight].value.numpy()
            channels = old_weight.shape[axis]
            old_bias = matches[bias].value.numpy() if bias in matches else None
            if int(norm.attrs["axis"]) != 1 or not _is_per_channel(old_bias, channels):
                return expr
            new_weight, new_bias = _folded(
                old_weight,
                old_bias,
                [matches[item].value.numpy() for item in statistics],
                float(norm.attrs["epsilon"]),
                axis,
            )
            conv = relax.Call(call.op, [matches[data], relax.const(new_weight)], call.attrs)
            return relax.op.add(conv, relax.const(new_bias))

        main = rewrite_call(pattern, rewrite, module["main"])
        module.update_func(module.get_global_var("main"), main)
    return module


def _is_per_channel(bias: np.ndarray | None, channels: int) -> bool:
    """Whether the added constant has one value an output channel: shape (1, C, 1, ...)."""
    if bias is None:
        return True
    return bias.ndim >= 2 and bias.size == channels == bias.shape[1]


def _folded(
    weight: np.ndarray,
    bias: np.ndarray | None,
    statistics: list[np.ndarray],
    epsilon: float,
    axis: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the new weight and the new bias, shaped (1, C, 1, ...), computed in float64."""
    import numpy as np

    scale, shift, mean, variance = (item.astype(np.float64) for item in statistics)
    factor = scale / np.sqrt(variance + epsilon)
    before = 0.0 if bias is None else bias.reshape(-1).astype(np.float64)
    along = [1] * weight.ndim
    along[axis] = -1
    new_weight = weight.astype(np.float64) * factor.reshape(along)
    new_bias = factor * (before - mean) + shift
    channel_shape = (1, -1) + (1,) * (weight.ndim - 2)
    return (
        new_weight.astype(weight.dtype),
        new_bias.reshape(channel_shape).astype(weight.dtype),
    )
