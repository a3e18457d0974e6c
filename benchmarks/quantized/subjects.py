"""The networks of the table: what each is calibrated with, and what its answers are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.read import ReadModel, read
from benchmarks.inputs import inputs_of
from benchmarks.models.catalog import Case, model_file
from benchmarks.models.minilm_weights import PACKAGE as MINILM_PACKAGE
from benchmarks.tasks.detection import detection
from benchmarks.tasks.recognition import recognition
from benchmarks.tasks.similarity import similarity

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.tasks.task import Task as Exercise

#: The rows of each model; the first is what the others are compared with.
FLOAT = "fp32"
PRECISIONS = (FLOAT, "fp16", "int8", "mixed", "int4")
#: The networks of the table.
SUBJECTS = ("mobilenet_v2", "resnet50", "minilm", "ppocr6_rec", "ppocr6_det", "decoder_decode")
#: Those that the requirements on int8 name, and the layer that int4 is for.
REQUIRED, DECODER = ("mobilenet_v2", "resnet50", "minilm"), "decoder_decode"

_CALIBRATION, _TESTS = 32, 100


@dataclass(frozen=True)
class Subject:
    """A network with what is needed to quantize and to judge it.

    Attributes
    ----------
    model, shapes
        The ONNX file, and what its symbolic inputs are bound to.
    read
        The graph in it.
    inputs
        That it is timed on.
    calibration
        As `compile` takes it: ``"random"``, or runs.
    exercise
        A task with right answers; None for random weights.
    """

    model: Path
    shapes: Mapping[str, Sequence[int]]
    read: ReadModel
    inputs: Mapping[str, np.ndarray]
    calibration: Any
    exercise: Exercise | None


def subject_of(case: Case, folder: Path) -> Subject:
    """Return a case of the catalog with its data; real weights where there are some."""
    exercise = _exercise(case, folder)
    if exercise is not None:
        model = read(exercise.model, exercise.shapes)
        data = list(exercise.calibration)
        return Subject(exercise.model, exercise.shapes, model, data[0], data, exercise)
    path = model_file(case)
    model = read(path, case.shapes or None)
    return Subject(path, case.shapes, model, inputs_of(case, model), "random", None)


def _exercise(case: Case, folder: Path) -> Exercise | None:
    if case.name.endswith("_rec"):
        return recognition(case.name, model_file(case), _CALIBRATION, _TESTS)
    if case.name.endswith("_det"):
        return detection(case.name, model_file(case), _CALIBRATION, _TESTS)
    if case.name == "minilm" and find_spec(MINILM_PACKAGE):
        return similarity(case.name, folder)
    return None
