"""The inputs of a case: the same in every run, and such that the outputs say something."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.random_inputs import random_inputs
from autoglm_tvm.compiler.read import ReadModel
from benchmarks.models.catalog import Case
from tests.drawn_text import text_image

if TYPE_CHECKING:
    import numpy as np


def inputs_of(case: Case, model: ReadModel) -> dict[str, np.ndarray]:
    """Return one array for each input of the model that was read from the case's file."""
    if case.shows_text:
        (spec,) = model.inputs
        height, width = (int(dim) for dim in spec.shape[2:])
        return {spec.name: text_image(height, width)}
    return random_inputs(model.inputs, model.proto.graph)
