"""Small types as the bytes that a bundle takes and gives."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from autoglm_tvm.artifacts.carried_types import CARRIERS, carried, restored


@pytest.mark.parametrize("dtype", CARRIERS)
def test_there_and_back(dtype: str) -> None:
    values = np.array([0, 1, -1, 2] if dtype[0] != "u" else [0, 1, 2, 3], np.float32).astype(dtype)
    stored = carried(values)
    assert stored.dtype == CARRIERS[dtype]
    assert stored.nbytes == values.size
    back = restored(stored, dtype)
    assert back.dtype == values.dtype
    np.testing.assert_array_equal(back.astype(np.float32), values.astype(np.float32))


def test_negative_integers_are_carried_by_value() -> None:
    """ml_dtypes keeps -1 of 4 bits as 15 in its byte, a kernel computes with -1."""
    np.testing.assert_array_equal(carried(np.array([-1, -8], ml_dtypes.int4)), [-1, -8])


def test_floats_are_carried_by_their_bits() -> None:
    assert carried(np.array([1], ml_dtypes.float8_e4m3fn)).item() == 0x38


def test_other_types_are_left_alone() -> None:
    array = np.zeros(2, np.float32)
    assert carried(array) is array
    assert restored(array, "float32") is array
