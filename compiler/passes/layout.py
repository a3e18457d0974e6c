"""Convert the graph's activations to another memory layout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.passes.conv1d_as_conv2d import conv1d_as_conv2d
from autoglm_tvm.compiler.passes.fold_with_numpy import fold_with_numpy
from autoglm_tvm.compiler.passes.sink_transposes import sink_transposes
from autoglm_tvm.compiler.passes.stack_as_concat import stack_as_concat
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from tvm import IRModule

# Data and kernel layout of the operators that are converted, for each layout of the whole graph.
LAYOUTS = {"NCHW": {}, "NHWC": {"relax.nn.conv2d": ["NHWC", "OHWI"]}}


def check_layout(layout: str) -> None:
    """Raise `UserInputError` for a layout that nothing is known about."""
    if layout not in LAYOUTS:
        raise UserInputError(
            f"unknown layout {layout!r}",
            where="--layout",
            hint=f"choose one of: {', '.join(LAYOUTS)}",
        )


def convert_layout(module: IRModule, layout: str) -> IRModule:
    """Convert 2-D convolutions, and the operators between them, to ``layout``.

    ``NCHW`` is the layout of ONNX and changes nothing. For another one, transposed weights are
    folded and transposes that cancel out vanish; those at the borders of what can be converted
    stay.
    """
    from tvm import relax, transform

    wanted = LAYOUTS[layout]
    if not wanted:
        return module
    module = stack_as_concat(conv1d_as_conv2d(module))
    if not _has_any(module, set(wanted)):
        # Nothing to convert; and TVM's pass fails on some operators, such as unique.
        return fold_with_numpy(sink_transposes(module))
    converted = transform.Sequential(
        [
            relax.transform.ConvertLayout(wanted),
            relax.transform.Normalize(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.OptimizeLayoutTransform(),
        ]
    )(module)
    return fold_with_numpy(sink_transposes(converted))


def _has_any(module: IRModule, operators: set[str]) -> bool:
    from tvm import relax

    found: set[str] = set()
    relax.analysis.post_order_visit(
        module["main"], lambda node: found.add(getattr(getattr(node, "op", None), "name", ""))
    )
    return bool(found & operators)
