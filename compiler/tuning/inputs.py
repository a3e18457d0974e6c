"""Inputs with which a candidate's results are compared with the untuned kernel's."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.tuning.candidate import Candidate, constants_of

if TYPE_CHECKING:
    import numpy as np

# Integers of more than a byte are often indices, of tables that may have few rows.
_LARGEST_INTEGER = 3


def check_inputs(candidate: Candidate, seed: int) -> tuple[np.ndarray, ...]:
    """The model's own weights, packed for the candidate, and random activations.

    Candidates of one task get the same activations for the same seed; must run below its target.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    import numpy as np

    task, constants = candidate.task, constants_of(candidate)
    random = np.random.default_rng(seed)
    arrays = []
    for at, tensor in enumerate(candidate.arguments[: -task.results]):
        if at in constants:
            arrays.append(constants[at])
            continue
        dtype = np.dtype(tensor.dtype)
        if dtype.kind in "iu" and dtype.itemsize == 1:
            # Quantized activations: what errs, errs on signs and where sums saturate.
            array = np.frombuffer(random.bytes(prod(tensor.shape)), dtype).reshape(tensor.shape)
        elif dtype.kind in "iub":
            array = random.integers(0, _LARGEST_INTEGER, tensor.shape, endpoint=True)
        else:
            array = random.uniform(-1, 1, tensor.shape)
        arrays.append(array.astype(dtype))
    return tuple(arrays)
