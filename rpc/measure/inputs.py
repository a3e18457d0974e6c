"""Inputs to measure with where the user gives none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.inputs import check_inputs
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np

GIVEN = "given"
MADE = "random floats, integers are 1"
Shapes = Mapping[str, Sequence["int | str"]]


def choose_inputs(
    specs: Sequence[TensorSpec], shapes: Shapes, given: Mapping[str, np.ndarray] | None
) -> tuple[str, dict[str, np.ndarray]]:
    """Return what the inputs are, and the inputs: those given, or made ones of these shapes.

    A bundle does not say what its integers index. One is a place in nearly every table, divides
    without harm, and masks nothing.

    Raises
    ------
    UserInputError
        A symbolic dimension has no size, a shape does not fit, or a given input is wrong.
    """
    import ml_dtypes  # noqa: F401 - registers bfloat16 with numpy
    import numpy as np

    if given is not None:
        if shapes:
            raise UserInputError(
                "shapes are for made inputs, and there are given ones",
                where="--shape",
                hint="leave --shape or --inputs out",
            )
        check_inputs(specs, given)
        return GIVEN, dict(given)
    sizes = _sizes(specs, shapes)
    rng = np.random.default_rng(0)
    arrays = {}
    for spec in specs:
        shape = tuple(dim if isinstance(dim, int) else sizes[dim] for dim in spec.shape)
        dtype = np.dtype(spec.dtype)
        whole = dtype == np.bool_ or np.issubdtype(dtype, np.integer)
        values = np.ones(shape) if whole else rng.standard_normal(shape)
        arrays[spec.name] = np.asarray(values).astype(dtype)
    check_inputs(specs, arrays)
    chosen = "".join(f", {name} = {size}" for name, size in sizes.items())
    return MADE + chosen, arrays


def _sizes(specs: Sequence[TensorSpec], shapes: Shapes) -> dict[str, int]:
    """Return the size of each symbolic dimension."""
    known = {spec.name: spec for spec in specs}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        spec = known.get(name)
        if spec is None or not _fits(spec, shape):
            takes = "; ".join(str(item) for item in specs)
            raise UserInputError(
                f"no input takes the shape {name}={','.join(map(str, shape))}",
                where="--shape",
                hint=f"the bundle takes {takes}",
            )
        for dim, size in zip(spec.shape, shape, strict=True):
            if isinstance(dim, str) and isinstance(size, int):
                sizes[dim] = size
    for spec in specs:
        missing = [dim for dim in spec.shape if isinstance(dim, str) and dim not in sizes]
        if missing:
            example = ",".join(
                str(sizes.get(d, 1)) if isinstance(d, str) else str(d) for d in spec.shape
            )
            raise UserInputError(
                f"dimension {missing[0]!r} has no size",
                where=f"input {spec}",
                hint=f"fix it with --shape {spec.name}={example} (with the size you use), "
                "or give real inputs with --inputs",
            )
    return sizes


def _fits(spec: TensorSpec, shape: Sequence[int | str]) -> bool:
    return len(spec.shape) == len(shape) and all(
        isinstance(dim, str) or size in (dim, "?")
        for dim, size in zip(spec.shape, shape, strict=True)
    )
