"""Element types that a bundle carries in a wider one: those of 4 and 2 bits, and floats of 8 and 4.

No processor computes with them, so a network takes and gives them as one byte a value: integers as
int8 or uint8 of the same value, floats as uint8 of the same bits. Callers give and get arrays of
the type that the model names, as ``ml_dtypes`` defines it, which is one byte a value as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: What carries a type, by the names of both.
CARRIERS = {
    "int2": "int8",
    "int4": "int8",
    "uint2": "uint8",
    "uint4": "uint8",
    "float4_e2m1fn": "uint8",
    "float8_e4m3fn": "uint8",
    "float8_e4m3fnuz": "uint8",
    "float8_e5m2": "uint8",
    "float8_e5m2fnuz": "uint8",
}


def carried(array: np.ndarray) -> np.ndarray:
    """Return `array` in the type that carries its own; itself where that needs none."""
    name = str(array.dtype)
    if name not in CARRIERS:
        return array
    return array.view(CARRIERS[name]) if name.startswith("float") else array.astype(CARRIERS[name])


def restored(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return what came out of a network as the type `dtype` that the model names."""
    if dtype not in CARRIERS:
        return array
    import ml_dtypes  # noqa: F401 - registers the small types with numpy
    import numpy as np

    own = np.dtype(dtype)
    return array.view(own) if dtype.startswith("float") else array.astype(own)
