"""Compare the arrays that a user gives with what the network takes."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np


def check_inputs(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return the arrays in the order of ``specs``, C-contiguous.

    Nothing is cast or broadcast: a wrong dtype is the caller's mistake, and a silent cast of
    float64 to float32 would hide it.

    Raises
    ------
    UserInputError
        A name, dtype or shape differs, or two inputs disagree about a symbolic dimension.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    import numpy as np

    _check_names(specs, inputs)
    sizes: dict[str, tuple[int, str]] = {}
    arrays: list[np.ndarray] = []
    for spec in specs:
        array = _as_stored(np.asarray(inputs[spec.name]), np.dtype(spec.dtype))
        if str(array.dtype) != spec.dtype:
            raise UserInputError(
                f"the dtype is {array.dtype}, the model takes {spec.dtype}",
                where=f"input {spec.name!r}",
                hint=f"convert it with array.astype({spec.dtype!r})",
            )
        _check_shape(spec, array.shape, sizes)
        arrays.append(np.ascontiguousarray(array).reshape(array.shape))
    return arrays


def _as_stored(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Undo what ``.npz`` files do to dtypes that numpy lacks: bfloat16 comes back as raw bytes."""
    raw = array.dtype.kind == "V" and array.dtype.fields is None
    return array.view(dtype) if raw and array.dtype.itemsize == dtype.itemsize else array


def _check_names(specs: Sequence[TensorSpec], inputs: Mapping[str, np.ndarray]) -> None:
    known = [spec.name for spec in specs]
    takes = "the model takes " + "; ".join(str(spec) for spec in specs)
    for name in inputs:
        if name not in known:
            same_but_case = [item for item in known if item.lower() == name.lower()]
            near = same_but_case or difflib.get_close_matches(name, known, n=1)
            mean = f"did you mean {near[0]!r}? " if near else ""
            raise UserInputError(f"the model has no input {name!r}", hint=mean + takes)
    missing = [name for name in known if name not in inputs]
    if missing:
        raise UserInputError(
            "missing input" + ("s" if len(missing) > 1 else "") + f": {', '.join(missing)}",
            hint=takes,
        )


def _check_shape(
    spec: TensorSpec, shape: tuple[int, ...], sizes: dict[str, tuple[int, str]]
) -> None:
    where = f"input {spec.name!r}"
    wanted = f"[{', '.join(str(dim) for dim in spec.shape)}]"
    found = f"[{', '.join(str(dim) for dim in shape)}]"
    hint = f"give {spec}, or compile again with --shape {spec.name}={','.join(map(str, shape))}"
    if len(shape) != len(spec.shape) or any(
        isinstance(dim, int) and dim != size for dim, size in zip(spec.shape, shape, strict=False)
    ):
        raise UserInputError(
            f"the shape is {found}, the model takes {wanted}", where=where, hint=hint
        )
    for dim, size in zip(spec.shape, shape, strict=True):
        if isinstance(dim, str):
            if size < 1:
                raise UserInputError(
                    f"dimension {dim!r} is {size}", where=where, hint="give it a size of 1 or more"
                )
            first, owner = sizes.setdefault(dim, (size, spec.name))
            if first != size:
                raise UserInputError(
                    f"dimension {dim!r} is {size} here and {first} in input {owner!r}",
                    where=where,
                    hint="give both inputs the same size there",
                )
