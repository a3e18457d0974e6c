"""Cast from and to integers of 4 and 2 bits and floats of 8 and 4 bits."""

from __future__ import annotations

from typing import Any

from autoglm_tvm.artifacts.carried_types import CARRIERS
from autoglm_tvm.compiler.converters.node_types import NodeTypes
from autoglm_tvm.compiler.converters.small_types import (
    FLOATS,
    INTEGERS,
    decode_float,
    encode_float,
)


def casts_small(types: NodeTypes) -> bool:
    """Say whether the node casts from or to a type that is carried in a wider one."""
    return any(name in CARRIERS for name in (*types.inputs[:1], *types.outputs[:1]))


def cast_small(builder: Any, value: Any, types: NodeTypes, saturate: bool) -> Any:
    """Convert such a ``Cast``: an integer keeps its lowest bits, a float is rounded.

    Parameters
    ----------
    saturate
        Whether a number too large for a float8 becomes its largest one.
    """
    from tvm import relax

    def as_type(found: Any, dtype: str) -> Any:
        if str(found.ty.dtype) == dtype:
            return found
        return builder.normalize(relax.op.astype(found, dtype))

    source, target = types.input(0), types.outputs[0]
    if source in FLOATS:
        value = decode_float(builder, value, source)
    if target in FLOATS:
        return encode_float(builder, as_type(value, "float32"), target, saturate)
    if target in INTEGERS:
        return as_type(_lowest_bits(builder, as_type(value, "int32"), target), CARRIERS[target])
    return as_type(value, target)


def _lowest_bits(builder: Any, value: Any, dtype: str) -> Any:
    """Keep the bits that the type has of an int32, with the sign where it has one."""
    from tvm import relax

    low, high = INTEGERS[dtype]
    kept = builder.normalize(relax.op.bitwise_and(value, relax.const(high - low, "int32")))
    if low == 0:
        return kept
    sign = relax.const(-low, "int32")
    flipped = builder.normalize(relax.op.bitwise_xor(kept, sign))
    return builder.normalize(relax.op.subtract(flipped, sign))
