"""Bytes of one sign as the same bits of the other, moved by 128: int8 + 128 is uint8, and back."""

from __future__ import annotations

from typing import Any

# The highest bit of each byte of a word.
_WORD = -0x7F7F7F80
_MOVES = {("uint8", "int8"): -128, ("int8", "uint8"): 128}


def moved_by(dtype: str, wanted: str) -> int:
    """What is added to numbers of `dtype` to make them `wanted`; 0 for any other pair of types."""
    return _MOVES.get((dtype, wanted), 0)


def word_of_sign(word: Any, dtype: str, wanted: str) -> Any:
    """A word of four bytes of `dtype`, moved to `wanted`."""
    return word ^ _WORD if moved_by(dtype, wanted) else word


def byte_of_sign(byte: Any, dtype: str, wanted: str) -> Any:
    """A number of `dtype`, a type of `wanted`'s size, moved to `wanted`."""
    from tvm import tirx

    if not moved_by(dtype, wanted):
        return byte
    return (byte ^ tirx.const(-128 if dtype == "int8" else 128, dtype)).astype(wanted)


def number_of_sign(number: Any, dtype: str, wanted: str) -> Any:
    """A number of `dtype`, or a tensor that holds only one, moved to `wanted`."""
    from tvm import tirx

    if isinstance(number, int):
        return tirx.const(number + moved_by(dtype, wanted), wanted)
    only = number(*[0] * len(number.shape)).astype(dtype)
    return byte_of_sign(only, dtype, wanted)
