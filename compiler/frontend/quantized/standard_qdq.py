"""QuantizeLinear and DequantizeLinear: one spelling of what may be spelt in several ways."""

from __future__ import annotations

from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder

#: The standard operators take these types, beside 8-bit and float8 ones, since opset 21.
SINCE_21 = ("int16", "uint16", "int4", "uint4")


def standard_qdq(builder: QdqBuilder) -> bool:
    """Write com.microsoft's Q/DQ as the standard ones: the same inputs and attributes."""
    _write(builder)
    return True


def one_spelling(builder: QdqBuilder) -> bool:
    """Write one scale as a number of no dimension without an axis, and an axis from the front."""
    scale = builder.constants.shape(builder.input(1))
    zero = builder.constants.shape(builder.input(2)) if builder.input(2) else scale
    attributes = builder.kept_attributes()
    blocks = bool(attributes.get("block_size", 0))
    same = scale == zero and (scale != () or "axis" not in attributes)
    settled = blocks or scale is None or same
    if settled and scale != (1,) and int(attributes.get("axis", 0)) >= 0:
        return False
    _write(builder)
    return True


def _write(builder: QdqBuilder) -> None:
    attributes, shape = builder.kept_attributes(), builder.context.shape(0)
    scale, zero = builder.input(1), builder.input(2)
    blocks = bool(attributes.get("block_size", 0))
    if builder.is_scalar(scale) and not blocks:
        attributes.pop("axis", None)
    else:
        axis = int(attributes.get("axis", 1))
        attributes["axis"] = axis + (len(shape) if axis < 0 and shape is not None else 0)
    inputs = [name for name in (scale, zero) if name] if blocks else builder.parameters(scale, zero)
    builder.compute(builder.node.op_type, builder.input(0), *inputs, **attributes)
    builder.name_output()
