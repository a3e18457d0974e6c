"""Lower matrix products and convolutions to register tiles, with constant weights packed for them.

The replacements are for ``LegalizeOps``. What they do not take goes to TVM's own lowering.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from autoglm_tvm.compiler.passes.pack_conv2d import lower_conv2d
from autoglm_tvm.compiler.passes.pack_conv2d_transpose import lower_conv2d_transpose
from autoglm_tvm.compiler.passes.pack_matmul import lower_matmul
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import Machine


def pack_operators(machine: Machine, choices: Choices) -> dict[str, Callable[..., Any]]:
    """Return the replacements of matmul, conv2d and conv2d_transpose, lowered as `choices` say."""
    return {
        "relax.matmul": _or_default(lower_matmul, machine, choices),
        "relax.nn.conv2d": _or_default(lower_conv2d, machine, choices),
        "relax.nn.conv2d_transpose": _or_default(lower_conv2d_transpose, machine, choices),
    }


def _or_default(
    lower: Callable[..., Any], machine: Machine, choices: Choices
) -> Callable[..., Any]:
    def legalize(builder: Any, call: Any) -> Any:
        lowered = lower(builder, call, machine, choices)
        return call.op.get_attr("FLegalize")(builder, call) if lowered is None else lowered

    return legalize
