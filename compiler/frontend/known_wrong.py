"""Operators that TVM 0.27 imports without complaint and computes wrongly, with the reason.

Each rule looks at one node, its constants and its inputs' shapes. A node that a rule matches is
expanded by its ONNX function body where there is one, and refused where there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autoglm_tvm.compiler.frontend.infer import static_shape
from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.shape_values import is_shape_arithmetic
from autoglm_tvm.compiler.frontend.symbols import is_unnamed

Rule = Callable[[NodeContext], bool]


@dataclass(frozen=True)
class WrongImport:
    """One way in which the importer misreads an operator."""

    op_type: str
    matches: Rule
    reason: str


def _resize_drops_axes(context: NodeContext) -> bool:
    axes = context.attribute("axes", None)
    return axes is not None


def _resize_factors(context: NodeContext) -> list[float] | None:
    """Return output size over input size by dimension, as the node's scales or sizes say."""
    shape, scales, sizes = context.shape(0), context.constant(2), context.constant(3)
    if scales is not None:
        return [float(scale) for scale in scales]
    if sizes is not None and shape is not None and all(shape):
        return [float(s) / float(d or 1) for s, d in zip(sizes, shape, strict=False)]
    return None


def _resize_antialias(context: NodeContext) -> bool:
    factors = _resize_factors(context)
    return bool(context.attribute("antialias", 0)) and (factors is None or min(factors) < 1)


def _resize_batch_or_channel(context: NodeContext) -> bool:
    factors = _resize_factors(context)
    return factors is not None and any(factor != 1 for factor in factors[:2])


def _resize_uneven_scale(context: NodeContext) -> bool:
    """The importer computes coordinates from the rounded sizes, ONNX from the scales."""
    scales, shape = context.constant(2), context.shape(0)
    if scales is None:
        return False
    dims = shape or (None,) * len(scales)
    for scale, dim in zip(scales[2:], dims[2:], strict=False):
        product = float(scale) * (dim if dim is not None else 1)
        if abs(product - round(product)) > 1e-4:
            return True
    return False


def _dropout_mask(context: NodeContext) -> bool:
    return context.has_output(1)


def _dropout_training(context: NodeContext) -> bool:
    mode = context.constant(2)
    return context.has_input(2) and (mode is None or bool(mode))


def _not_float32(context: NodeContext) -> bool:
    dtype = context.dtype(0)
    return dtype not in ("float", None)


def _all_axes(context: NodeContext) -> bool:
    shape, axis = context.shape(0), context.attribute("axis", -1)
    return axis == 0 or (shape is not None and axis == -len(shape))


def _empty_reduction(context: NodeContext) -> bool:
    shape = context.shape(0)
    result = static_shape(context.types.get(context.node.output[0]))
    return shape is not None and 0 in shape and not (result is not None and 0 in result)


def _split_of_nothing(context: NodeContext) -> bool:
    """Only the last part may be empty: TVM wants the places to cut at in rising order."""
    constant = context.constant(1)
    sizes = context.attribute("split", None) or [] if constant is None else constant
    return 0 in sizes[:-1]


def _shift_past_width(context: NodeContext) -> bool:
    """ONNX's result is 0 there; the processor takes the amount modulo the width."""
    amount = context.constant(1)
    return amount is not None and bool(
        (amount < 0).any() or (amount >= 8 * amount.dtype.itemsize).any()
    )


def _topk_dtype(context: NodeContext) -> bool:
    return context.dtype(0) not in (*SORTED_TYPES, None)


def _nms_run_time_limit(context: NodeContext) -> bool:
    return any(context.has_input(i) and not context.is_constant(i) for i in (2, 3, 4))


def expand_of_unknown(context: NodeContext) -> bool:
    """A symbolic dimension of x that the result is not known to keep.

    The importer takes both for equal and reads past x where x has 1. Dimensions without a name are
    let through if only shapes are computed with: the importer may know more than onnx does.
    """
    source, target = (context.types.get(n) for n in (context.node.input[0], context.node.output[0]))
    if source is None or context.shape(0) is None:
        return False
    dims = list(source.tensor_type.shape.dim)
    result = list(target.tensor_type.shape.dim) if target is not None else []
    arithmetic = is_shape_arithmetic(context, context.node.input[1])
    for place, dim in enumerate(reversed(dims), start=1):
        if dim.HasField("dim_value"):
            continue
        kept = len(result) >= place and result[-place].dim_param == dim.dim_param != ""
        if not kept and not (arithmetic and is_unnamed(dim.dim_param)):
            return True
    return False


def _slice_by_data(context: NodeContext) -> bool:
    """The importer's result then has no shape, which no later operator takes."""
    return not all(is_shape_arithmetic(context, name) for name in context.node.input[1:])


def _upsample_scales_input(context: NodeContext) -> bool:
    return context.has_input(1)


#: What the sort of TVM's runtime takes.
SORTED_TYPES = ("float", "float16", "double", "uint8", "int8", "int32", "int64")

REDUCE = (
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
)

RULES = (
    WrongImport("Resize", _resize_antialias, "antialias is ignored when it makes smaller"),
    WrongImport("Resize", lambda c: len(c.node.input) == 2, "its form of opset 10 is not read"),
    WrongImport(
        "Expand",
        expand_of_unknown,
        "its input has a symbolic dimension that may be 1 or not; fix it with --shape",
    ),
    WrongImport("Slice", _slice_by_data, "its bounds are computed from data"),
    WrongImport("Slice", lambda c: not c.has_input(1), "its form before opset 10 is not read"),
    WrongImport("Resize", _resize_drops_axes, "the attribute axes is ignored"),
    WrongImport(
        "Resize", _resize_batch_or_channel, "only the dimensions after the first two are resized"
    ),
    WrongImport(
        "Resize", _resize_uneven_scale, "scales that do not give a whole size shift the pixels"
    ),
    WrongImport(
        "Resize",
        lambda c: c.attribute("keep_aspect_ratio_policy", "stretch") != "stretch",
        "keep_aspect_ratio_policy is ignored",
    ),
    WrongImport(
        "Resize",
        lambda c: c.attribute("coordinate_transformation_mode", "") == "half_pixel_symmetric",
        "half_pixel_symmetric is not supported",
    ),
    WrongImport(
        "SpaceToDepth", lambda c: c.attribute("mode", "DCR") != "DCR", "mode CRD is ignored"
    ),
    WrongImport(
        "ConvTranspose",
        lambda c: c.attribute("output_shape", None) is not None,
        "the attribute output_shape is ignored",
    ),
    WrongImport("RoiAlign", lambda c: c.attribute("mode", "avg") == "max", "mode max is wrong"),
    WrongImport(
        "IsInf",
        lambda c: not (c.attribute("detect_negative", 1) and c.attribute("detect_positive", 1)),
        "detect_negative and detect_positive are ignored",
    ),
    WrongImport(
        "BatchNormalization",
        lambda c: bool(c.attribute("training_mode", 0)) or c.has_output(1),
        "training mode computes other statistics",
    ),
    WrongImport("OneHot", lambda c: True, "its result has another dtype; depth must be a constant"),
    WrongImport("Dropout", _dropout_mask, "the mask output is wrong"),
    WrongImport("Dropout", _dropout_training, "training mode is ignored"),
    *(WrongImport(name, _empty_reduction, "reducing an empty tensor is wrong") for name in REDUCE),
    *(
        WrongImport(name, lambda c: c.dtype(0) == "bool", "bool has no extreme values there")
        for name in ("ReduceMax", "ReduceMin")
    ),
    *(
        WrongImport(name, _not_float32, "its constants are float32 whatever the input is")
        for name in ("Elu", "Selu", "ThresholdedRelu")
    ),
    WrongImport("RMSNormalization", _all_axes, "normalising over every axis is not supported"),
    WrongImport("NonMaxSuppression", _nms_run_time_limit, "limits must be constants"),
    WrongImport("BitShift", _shift_past_width, "it shifts by less than 0 or by all bits"),
    WrongImport("Split", _split_of_nothing, "a part of size 0 before the last is not supported"),
    WrongImport("TopK", _topk_dtype, "TVM's runtime does not sort this dtype"),
    WrongImport("Upsample", _upsample_scales_input, "scales as an input are not read"),
    WrongImport("MaxPool", lambda c: c.has_output(1), "the output Indices is not computed"),
    WrongImport(
        "LayerNormalization",
        lambda c: c.has_output(1),
        "the outputs Mean and InvStdDev are made up",
    ),
)


def why_wrong(context: NodeContext) -> str | None:
    """Return why the importer would misread this node; None where nothing is known against it."""
    if context.node.domain:
        return None
    for rule in RULES:
        if rule.op_type == context.node.op_type and rule.matches(context):
            return rule.reason
    return None
