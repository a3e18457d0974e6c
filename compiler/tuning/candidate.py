"""A kernel as one configuration makes it, before it is scheduled and built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.trial import TensorType
from autoglm_tvm.compiler.tuning.splice import splice
from autoglm_tvm.compiler.tuning.tasks import TuningTask
from autoglm_tvm.schedules.default import TRACE

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Candidate:
    """One configuration of one task.

    Attributes
    ----------
    task
        Which.
    config
        Which; empty for the default.
    function
        The unscheduled kernel with the anchor that the configuration asks for.
    arguments
        As those of the task, with the weight packed for this candidate.
    """

    task: TuningTask
    config: Mapping[str, Any]
    function: Any
    arguments: tuple[TensorType, ...]


def candidate_of(task: TuningTask, config: Mapping[str, Any]) -> Candidate:
    """Make the kernel of a configuration; must run below the task's target."""
    function, packed = _spliced(task, config)
    arguments = list(task.arguments)
    for position, array in packed.items():
        arguments[position] = TensorType(str(array.dtype), array.shape)
    return Candidate(task, config, function, tuple(arguments))


def constants_of(candidate: Candidate) -> dict[int, np.ndarray]:
    """Position and value of the arguments that are weights; must run below the task's target.

    Packed anew for each call: sessions keep many candidates, whose weights are megabytes each.
    """
    task = candidate.task
    return {**task.constants, **_spliced(task, candidate.config)[1]}


def _spliced(task: TuningTask, config: Mapping[str, Any]) -> tuple[Any, dict[int, np.ndarray]]:
    """The kernel, and its weight by its position where it is packed otherwise than by default."""
    if task.anchor is None or not config or TRACE in config:
        return task.function, {}
    function, weight = splice(task.function, task.anchor, config)
    return function, {} if weight is None else dict([weight])
