"""Keep index arithmetic in 64 bits: LLVM 22.1 miscompiles it in 32.

TVM narrows indices to int32 (`NarrowDataType`). In `x[f * 12 + i % 4 * 3 + j]` over i, LLVM's loop
vectoriser must check at run time that neither `i % 4`, a number of 2 bits, nor the index of 32 bits
wraps around; it takes the second check for the first as well and reads `i` in place of `i % 4`.
Tile meets it, and other operators with a remainder by a power of two may: 28 of 220 tiles of random
shapes and dtypes were wrong at -O2 on a CPU with AVX-512, fewer with AVX2, at -O3 and on arm64. An
index of 64 bits needs no check: none was wrong. The code runs as fast and compiles sooner.
"""

from __future__ import annotations

from typing import Any


def wide_indices() -> Any:
    """Return the pass context, for a ``with`` statement, in which kernels have 64-bit indices."""
    from tvm import transform

    return transform.PassContext(disabled_pass=["tirx.NarrowDataType"])
