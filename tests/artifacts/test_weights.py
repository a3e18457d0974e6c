"""`weights.bin`: every dtype comes back bit for bit, aligned, and mapped instead of copied."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from autoglm_tvm.artifacts.manifest import WeightEntry
from autoglm_tvm.artifacts.weights import ALIGNMENT, map_weights, write_weights

DTYPES = [
    *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn", "float8_e5m2"),
]


def _array(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    raw = np.random.default_rng(len(dtype)).integers(0, 256, shape)
    if dtype == "bool":
        return raw % 2 == 1
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return raw.astype(np.uint8).astype(kind)


def _mapped_file(array: np.ndarray) -> Any:
    """The memory map that an array is a view of, if it is one."""
    base: Any = array
    while base is not None and not isinstance(base, mmap.mmap):
        base = getattr(base, "base", None)
    return base


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_comes_back_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    arrays = [_array(dtype, shape) for shape in ((3, 5), (), (1,), (0, 4), (7, 1, 2))]
    entries = write_weights(path, [(f"w{i}", array) for i, array in enumerate(arrays)])
    mapped = map_weights(path, entries)
    assert [entry.name for entry in entries] == ["w0", "w1", "w2", "w3", "w4"]
    assert [entry.dtype for entry in entries] == [dtype] * 5
    for array, found in zip(arrays, mapped, strict=True):
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert found.tobytes() == array.tobytes()


def test_every_tensor_begins_at_a_multiple_of_64_bytes(tmp_path: Path) -> None:
    assert ALIGNMENT == 64
    path = tmp_path / "weights.bin"
    sizes = (1, 63, 64, 65, 0, 3)
    entries = write_weights(path, [("w", np.full(size, 9, np.uint8)) for size in sizes])
    assert [entry.offset for entry in entries] == [0, 64, 128, 192, 320, 320]
    assert [entry.nbytes for entry in entries] == list(sizes)
    assert path.stat().st_size == 323
    mapped = map_weights(path, entries)
    assert all(array.ctypes.data % ALIGNMENT == 0 for array in mapped if array.size)
    # The gaps are zeros, so that the same weights give the same file.
    content = np.frombuffer(path.read_bytes(), np.uint8)
    assert int(content.sum()) == 9 * sum(sizes)


def test_the_file_is_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    arrays = [np.arange(50, dtype=np.float32), np.ones((2, 3), np.float16)]
    mapped = map_weights(path, write_weights(path, [("a", arrays[0]), ("b", arrays[1])]))
    files = [_mapped_file(array) for array in mapped]
    assert files[0] is not None
    assert files[0] is files[1]
    whole = np.frombuffer(files[0], np.uint8)
    assert all(np.shares_memory(whole, array) for array in mapped)


def test_a_write_to_a_mapped_tensor_stays_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    entries = write_weights(path, [("a", np.zeros(20, np.float32))])
    before = path.read_bytes()
    (mapped,) = map_weights(path, entries)
    assert mapped.flags.writeable  # DLPack refuses to hand over a read-only array
    mapped[:] = 1
    assert path.read_bytes() == before


@pytest.mark.parametrize("shapes", [[], [(0,)], [(0, 3), (2, 0)]])
def test_a_file_without_bytes(shapes: list[tuple[int, ...]], tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    entries = write_weights(path, [("w", np.zeros(shape, np.int64)) for shape in shapes])
    assert path.stat().st_size == 0
    mapped = map_weights(path, entries)
    assert [(array.shape, array.dtype) for array in mapped] == [(s, np.int64) for s in shapes]


def test_an_array_in_another_memory_order_is_written_in_c_order(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    turned = array.transpose(2, 0, 1)[:, ::-1]
    (found,) = map_weights(path, write_weights(path, [("w", turned)]))
    np.testing.assert_array_equal(found, turned)


def test_arrays_are_taken_one_at_a_time(tmp_path: Path) -> None:
    """A model larger than the memory must be written without all of it being held at once."""
    path = tmp_path / "weights.bin"
    sizes_seen = []

    def arrays() -> Any:
        for size in (100_000, 200_000):
            sizes_seen.append(path.stat().st_size)
            yield "w", np.zeros(size, np.uint8)

    entries = write_weights(path, arrays())
    assert entries[1] == WeightEntry("w", "uint8", (200_000,), 100_032, 200_000)
    assert sizes_seen[1] > sizes_seen[0]
