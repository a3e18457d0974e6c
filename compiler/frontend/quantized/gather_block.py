"""com.microsoft GatherBlockQuantized: rows of an embedding table of 4 or 8 bits in blocks."""

from __future__ import annotations

from autoglm_tvm.compiler.frontend.quantized.packing import unpack_bits
from autoglm_tvm.compiler.frontend.quantized.qdq_builder import QdqBuilder


def gather_block_quantized(builder: QdqBuilder) -> bool:
    """GatherBlockQuantized(x, i, s, z) = DQ(Gather(x, i), Gather(s, i), Gather(z, i)).

    A table of uint8 holds `bits` a value, and its zero point is half of their range where none is
    given; one of int4 or uint4 is as it seems. Gathering along the quantized axis is left alone.
    """
    context = builder.context
    rank, places = len(context.shape(0) or ()), context.shape(1)
    if not rank or places is None:
        return False
    along = int(context.attribute("gather_axis", 0)) % rank
    quantized = int(context.attribute("quantize_axis", 1)) % rank
    if along == quantized:
        return False
    tables = _tables(builder, int(context.attribute("bits", 4)), quantized == rank - 1)
    if tables is None:
        return False
    rows = [
        builder.add("Gather", table, builder.input(1), label=label, axis=along)
        for table, label in zip(tables, ("values", "scales", "zero_points"), strict=False)
    ]
    axis = quantized + (len(places) - 1 if along < quantized else 0)
    block = int(context.attribute("block_size", 128))
    builder.compute("DequantizeLinear", *rows, axis=axis, block_size=block)
    builder.name_output()
    return True


def _tables(builder: QdqBuilder, bits: int, last_axis: bool) -> list[str] | None:
    """Return table, scales and zero points as constants of one byte an element.

    onnxruntime gathers no tensor of 4 bits.
    """
    import numpy as np

    values, scales = (builder.constants.value(builder.input(index)) for index in (0, 2))
    zeros = builder.constants.value(builder.input(3))
    if values is None or scales is None or (builder.input(3) and zeros is None):
        return None
    if str(values.dtype) == "uint8":
        if bits not in (4, 8) or not last_axis:
            return None
        values = unpack_bits(values, bits)
        if zeros is None:
            zeros = np.full(scales.shape, 1 << (bits - 1), np.uint8)
        else:
            zeros = unpack_bits(zeros, bits)[..., : scales.shape[-1]]
    dtype = np.int8 if str(values.dtype).startswith("int") else np.uint8
    tables = [builder.constant(values.astype(dtype), "table"), builder.input(2)]
    if zeros is not None:
        tables.append(builder.constant(zeros.astype(dtype), "zero_points"))
    return tables
