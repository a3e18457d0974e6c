"""Lower softmax and layer, group and RMS norms to our own tensor expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoglm_tvm.schedules.operators.normalization import group_norm, layer_norm, rms_norm
from autoglm_tvm.schedules.operators.softmax import log_softmax, softmax


def legalize_normalization() -> dict[str, Callable[..., Any]]:
    """The replacements for ``LegalizeOps``; norms over other axes than the last stay TVM's."""
    return {
        "relax.nn.softmax": _softmax(softmax, "softmax"),
        "relax.nn.log_softmax": _softmax(log_softmax, "log_softmax"),
        "relax.nn.layer_norm": _layer_norm,
        "relax.nn.group_norm": _group_norm,
        "relax.nn.rms_norm": _rms_norm,
    }


def _softmax(build: Callable[..., Any], name: str) -> Callable[..., Any]:
    def legalize(builder: Any, call: Any) -> Any:
        return builder.call_te(build, call.args[0], int(call.attrs.axis), primfunc_name_hint=name)

    return legalize


def _layer_norm(builder: Any, call: Any) -> Any:
    from tvm import topi

    x, gain, shift = call.args
    axes = _last_axes(call)
    if axes is None:
        return builder.call_te(
            topi.nn.layer_norm, x, gain, shift, axis=call.attrs.axes, epsilon=call.attrs.epsilon
        )
    epsilon = float(call.attrs.epsilon)
    return builder.call_te(
        layer_norm, x, gain, shift, axes, epsilon, primfunc_name_hint="layer_norm"
    )


def _group_norm(builder: Any, call: Any) -> Any:
    """Groups become an axis by a reshape, which is another view of the same memory."""
    from tvm import tirx, topi

    x, gain, shift = call.args
    shape, groups = list(x.ty.shape), int(call.attrs.num_groups)
    epsilon = float(call.attrs.epsilon)
    channels = shape[1] if int(call.attrs.channel_axis) == 1 else None
    others = [int(axis) % len(shape) for axis in call.attrs.axes]
    if not isinstance(channels, tirx.IntImm) or others != list(range(2, len(shape))):
        arguments = (call.attrs.num_groups, call.attrs.channel_axis, call.attrs.axes, epsilon)
        return builder.call_te(topi.nn.group_norm, x, gain, shift, *arguments)
    split = [groups, int(channels) // groups]

    def reshaped(value: Any, target: list[Any]) -> Any:
        return builder.emit_te(topi.reshape, value, target, primfunc_name_hint="reshape")

    grouped = reshaped(x, [shape[0], *split, *shape[2:]])
    factors = [reshaped(value, split) for value in (gain, shift)]
    result = builder.emit_te(
        group_norm, grouped, *factors, epsilon, primfunc_name_hint="group_norm"
    )
    return builder.call_te(topi.reshape, result, shape, primfunc_name_hint="reshape")


def _rms_norm(builder: Any, call: Any) -> Any:
    from tvm import topi

    x, gain = call.args
    axes = _last_axes(call)
    if axes is None:
        return builder.call_te(
            topi.nn.rms_norm, x, gain, axis=call.attrs.axes, epsilon=call.attrs.epsilon
        )
    epsilon = float(call.attrs.epsilon)
    return builder.call_te(rms_norm, x, gain, axes, epsilon, primfunc_name_hint="rms_norm")


def _last_axes(call: Any) -> list[int] | None:
    """The axes that are normalised, if they are the last ones in order."""
    rank = len(call.args[0].ty.shape)
    axes = [int(axis) % rank for axis in call.attrs.axes]
    return axes if axes == list(range(rank - len(axes), rank)) else None
