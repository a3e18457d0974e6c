"""Integers of 4 and 2 bits in bytes, as com.microsoft's operators keep them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def pack_bits(values: np.ndarray, bits: int) -> np.ndarray:
    """Pack uint8 values below 2 ** `bits` along the last axis, the first into the lowest bits.

    A last byte that is not full ends with zeros.
    """
    import numpy as np

    count = 8 // bits
    missing = -values.shape[-1] % count
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)])
    groups = padded.reshape(*values.shape[:-1], -1, count)
    packed = np.zeros(groups.shape[:-1], np.uint8)
    for place in range(count):
        packed |= groups[..., place] << np.uint8(place * bits)
    return packed


def unpack_bits(packed: np.ndarray, bits: int) -> np.ndarray:
    """Undo :func:`pack_bits`: uint8 values, 8 / `bits` times as many along the last axis."""
    import numpy as np

    count, mask = 8 // bits, np.uint8((1 << bits) - 1)
    places = [(packed >> np.uint8(place * bits)) & mask for place in range(count)]
    return np.stack(places, axis=-1).reshape(*packed.shape[:-1], -1)
