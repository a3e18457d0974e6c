"""com.microsoft MatMulNBits: a matrix product whose weight is quantised in blocks along K.

The weight stays as the model has it: the call that is returned computes the product element by
element, right for whatever the operands are, and says by an attribute of its ``PrimFunc`` what it
is. `passes/pack_int4_matmul.py` puts a fast kernel in its place once the weight is known to be
constant; as arithmetic of Relax the weight would be folded to floats.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Attribute of the PrimFunc: K, N, bits, block size, and which optional operands follow the scales.
NBITS = "autoglm.matmul_nbits"
_WIDTHS = (2, 4, 8)


def matmul_nbits(builder: Any, inputs: Sequence[Any], attributes: dict[str, Any]) -> Any:
    """Convert ``MatMulNBits(A, B, scales, zero_points, g_idx, bias)``.

    Parameters
    ----------
    builder
        The importer's block builder.
    inputs
        A [..., K] of floats, B uint8 [N, ceil(K / block_size), block_size * bits / 8], the scales;
        zero points as floats or packed like B; an index of the group of each k; a bias [N].
    attributes
        K, N, bits, block_size; how exact the sums must be is left aside, they are float32.

    Raises
    ------
    ValueError
        A width of other than 2, 4 or 8 bits.
    """
    from tvm import relax

    data, packed, scales, zeros, groups, bias = (*inputs, None, None, None, None)[:6]
    reduced, columns = int(attributes["K"]), int(attributes["N"])
    bits, block = int(attributes.get("bits", 4)), int(attributes["block_size"])
    if bits not in _WIDTHS:
        raise ValueError(f"MatMulNBits of {bits} bits, of which TVM gets {_WIDTHS} only")
    optional = [(zeros, "zero_points"), (groups, "g_idx")]
    present = [(value, name) for value, name in optional if value is not None]
    marks = {
        NBITS: {"K": reduced, "N": columns, "bits": bits, "block_size": block}
        | {name: 1 for _, name in present}
    }

    def product(*operands: Any) -> Any:
        named = dict(zip(["A", "B", "scales", *(n for _, n in present)], operands, strict=True))
        return _product(named, reduced, columns, bits, block)

    call = builder.call_te(
        product,
        data,
        packed,
        scales,
        *(value for value, _ in present),
        primfunc_name_hint="matmul_nbits",
        primfunc_attrs=marks,
    )
    result = builder.normalize(call)
    return result if bias is None else builder.normalize(relax.op.add(result, bias))


def _product(operands: dict[str, Any], reduced: int, columns: int, bits: int, block: int) -> Any:
    """The sums over K of A and the weight, as the operator defines them."""
    from tvm import te, tirx

    data, packed, scales = (operands[name] for name in ("A", "B", "scales"))
    zeros, index = operands.get("zero_points"), operands.get("g_idx")
    groups = -(-reduced // block)
    # Zero points of one column end with a whole byte.
    row_bytes = -(-groups * bits // 8)

    def scale_of(column: Any, group: Any) -> Any:
        flat = len(scales.shape) == 1
        return scales(column * groups + group) if flat else scales(column, group)

    def zero_of(column: Any, group: Any) -> Any:
        if zeros is None:
            return tirx.const(float(1 << (bits - 1)), "float32")
        flat = len(zeros.shape) == 1
        if "float" in str(zeros.dtype):
            zero = zeros(column * groups + group) if flat else zeros(column, group)
            return zero.astype("float32")
        byte = group * bits // 8
        stored = zeros(column * row_bytes + byte) if flat else zeros(column, byte)
        return _bits_of(stored, group, bits).astype("float32")

    def weight(step: Any, column: Any) -> Any:
        group = step // block if index is None else index(step).astype("int64")
        stored = packed(column, step // block, step % block * bits // 8)
        number = _bits_of(stored, step, bits).astype("float32")
        return (number - zero_of(column, group)) * scale_of(column, group).astype("float32")

    *leading, _ = data.shape
    step = te.reduce_axis((0, tirx.IntImm("int64", reduced)), "k")

    def element(*indices: Any) -> Any:
        *row, column = indices
        value = data(*row, step).astype("float32")
        return te.sum(value * weight(step, column), axis=[step])

    shape = (*leading, tirx.IntImm("int64", columns))
    sums: Any = te.compute(shape, element, name="matmul_nbits")
    if str(data.dtype) == "float32":
        return sums
    return te.compute(shape, lambda *at: sums(*at).astype(str(data.dtype)), name="narrow")


def _bits_of(byte: Any, at: Any, bits: int) -> Any:
    """Number `at` of those that lie in bytes from their lowest bits on; `byte` is its byte."""
    shift = (at * bits % 8).astype("int32")
    return (byte.astype("int32") >> shift) & ((1 << bits) - 1)
