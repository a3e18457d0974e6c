"""``weights.bin``: the constants of a network, apart from its code, ready to be memory-mapped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.manifest import WeightEntry

if TYPE_CHECKING:
    import numpy as np

# TVM's kernels may assume that every tensor starts at a multiple of this (kAllocAlignment).
ALIGNMENT = 64


def write_weights(path: Path, tensors: Iterable[tuple[str, np.ndarray]]) -> tuple[WeightEntry, ...]:
    """Write the tensors one after the other, each at a multiple of 64 bytes.

    Parameters
    ----------
    path
        The file to write.
    tensors
        Pairs of a name and an array; they are consumed one at a time.

    Returns
    -------
    entries
        One an array, in the same order.
    """
    import numpy as np

    entries: list[WeightEntry] = []
    with path.open("wb") as file:
        for name, array in tensors:
            offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
            file.write(bytes(offset - file.tell()))
            contiguous = np.ascontiguousarray(array)
            file.write(contiguous.reshape(-1).view(np.uint8).data)
            entries.append(
                WeightEntry(name, str(array.dtype), array.shape, offset, contiguous.nbytes)
            )
    return tuple(entries)


def map_weights(path: Path, entries: Sequence[WeightEntry]) -> list[np.ndarray]:
    """Map the file and return one view an entry; no byte is read before a kernel touches it.

    The mapping is private (copy on write), because DLPack refuses read-only arrays.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 and the small floats with numpy
    import numpy as np

    if path.stat().st_size == 0:
        return [np.zeros(entry.shape, entry.dtype) for entry in entries]
    mapped = np.memmap(path, dtype=np.uint8, mode="c")
    return [
        np.asarray(mapped[entry.offset : entry.offset + entry.nbytes])
        .view(np.dtype(entry.dtype))
        .reshape(entry.shape)
        for entry in entries
    ]
