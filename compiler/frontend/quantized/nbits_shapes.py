"""What of a MatMulNBits does not fit its attributes: nothing else looks before its kernel reads."""

from __future__ import annotations

from math import prod

from autoglm_tvm.compiler.frontend.node_context import NodeContext
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore

#: Widths that a weight may have.
WIDTHS = (2, 4, 8)
SMALLEST_BLOCK = 16


def nbits_problem(context: NodeContext, constants: ConstantStore) -> str:
    """Say which input of MatMulNBits has another shape than K, N, bits and block_size ask for."""
    rows, columns = (int(context.attribute(name, 0)) for name in ("K", "N"))
    bits, block = int(context.attribute("bits", 4)), int(context.attribute("block_size", 0))
    if bits not in WIDTHS:
        return f"it has weights of {bits} bits; {', '.join(map(str, WIDTHS))} can be compiled"
    if block < SMALLEST_BLOCK or block & (block - 1):
        return f"its block_size is {block}; a power of two from {SMALLEST_BLOCK} on is needed"
    blocks = -(-rows // block)
    row_bytes = -(-blocks * bits // 8)
    data = context.shape(0)
    if data and data[-1] not in (rows, None):
        return f"its input has rows of {data[-1]} values, its attribute K is {rows}"
    zeros = columns * (blocks if (context.dtype(3) or "").startswith("float") else row_bytes)
    sizes = {
        1: ("its weight", columns * blocks * (block * bits // 8)),
        2: ("its scales", columns * blocks),
        3: ("its zero points", zeros),
        4: ("its g_idx", rows),
        5: ("its bias", columns),
    }
    for index, (name, size) in sizes.items():
        shape = context.shape(index)
        if shape is not None and None not in shape:
            found = prod(dim or 0 for dim in shape)
            if found != size:
                return f"{name}: {found} values, but K {rows} and N {columns} need {size}"
    index = constants.value(context.node.input[4]) if context.has_input(4) else None
    if index is not None and index.size and not 0 <= index.min() <= index.max() < blocks:
        return f"its g_idx names a block beyond the {blocks} that K {rows} has"
    return ""
