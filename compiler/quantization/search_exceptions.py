"""Search which layers must go back to higher precision for the model to be as good as asked for.

The layers are sorted by the error that each adds alone. The shortest head of that list whose layers
must be raised is found by bisection, then layers of it are taken back where the target allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.quantization.layer_error import LayerError
from autoglm_tvm.compiler.quantization.logits import logit_outputs
from autoglm_tvm.compiler.quantization.output_accuracy import (
    compare_outputs,
    rounded,
    worst_drop,
)
from autoglm_tvm.compiler.quantization.reference_runs import FloatOutputs, OnnxSession
from autoglm_tvm.compiler.quantization.sensitivity import FLOAT, Quantizer, layer_errors
from autoglm_tvm.targets.errors import CheckFailedError

if TYPE_CHECKING:
    import numpy as np

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.read import ReadModel

#: What a layer is raised to: one step at a time, as long as the target is not met.
HIGHER = {"int4": "int8", "int8-dynamic": "fp16", "int8": "fp16", "fp16": FLOAT}
# Models that are measured to take exceptions back, at most.
_MOST_TAKEN_BACK = 12

#: Scores all outputs of a model on all samples, ``score(outputs, inputs)``; higher is better.
Score = Callable[
    [Sequence[Mapping[str, "np.ndarray"]], Sequence[Mapping[str, "np.ndarray"]]], float
]


@dataclass(frozen=True)
class SearchResult:
    """Precisions that meet a target, and how they were found.

    Attributes
    ----------
    precisions
        Of every node that can be quantized.
    raised
        The nodes that went back to a higher precision, the most sensitive one first.
    target
        The largest drop that was allowed.
    drop, drop_before
        With and without the exceptions found.
    layers
        The error that each layer adds alone; empty where no search was needed.
    evaluations
        Models that were measured as a whole.
    """

    precisions: Mapping[str, str]
    raised: tuple[str, ...]
    target: float
    drop: float
    drop_before: float
    layers: tuple[LayerError, ...]
    evaluations: int

    def to_json(self) -> dict[str, Any]:
        """Plain values; the layers' errors are in the accuracy report."""
        return {
            "target_drop": self.target,
            "drop": rounded(self.drop),
            "drop_before": rounded(self.drop_before),
            "raised": {name: self.precisions[name] for name in self.raised},
            "evaluations": self.evaluations,
        }


class _Judge:
    """Measures what a choice of precisions costs; each choice once."""

    def __init__(
        self, reference: FloatOutputs, quantize: Quantizer, score: Score | None, tell: _Tell
    ) -> None:
        self._reference = reference
        self._quantize = quantize
        self._score = score
        self._tell = tell
        self._logits = logit_outputs(reference.model)
        self._best = None if score is None else self._scored(score, None)
        self._known: dict[tuple[tuple[str, str], ...], float] = {}

    @property
    def evaluations(self) -> int:
        return len(self._known)

    def drop(self, precisions: Mapping[str, str], what: str) -> float:
        """Return the drop of the model with these precisions."""
        key = tuple(sorted(precisions.items()))
        if key not in self._known:
            self._tell(f"measuring with {what}")
            self._known[key] = self._measured(OnnxSession(self._quantize(precisions)))
        return self._known[key]

    def _measured(self, session: OnnxSession) -> float:
        if self._score is None or self._best is None:
            return worst_drop(compare_outputs(self._reference, session, self._logits))
        return self._best - self._scored(self._score, session)

    def _scored(self, score: Score, session: OnnxSession | None) -> float:
        inputs, outputs = [], []
        for sample, expected in self._reference:
            inputs.append(sample)
            outputs.append(expected if session is None else session.run(sample))
        return float(score(outputs, inputs))


_Tell = Callable[[str], None]


def search_exceptions(
    original: ReadModel,
    precisions: Mapping[str, str],
    quantize: Quantizer,
    data: CalibrationData,
    target: float,
    *,
    score: Score | None = None,
    progress: Callable[[str], None] | None = None,
) -> SearchResult:
    """Raise the most sensitive layers to a higher precision until the drop is within the target.

    Parameters
    ----------
    original
        The float model.
    precisions
        Where the search begins: the recipe's precision of every node that can be quantized.
    quantize
        Makes the model for other precisions.
    data
        Held-out inputs that the drop is measured on.
    target
        Largest drop, 0 to 1: part of the decisions that may change where outputs are logits, else
        ``1 - cosine``; with `score`, how much lower than the float model's the score may be.
    score
        Scores outputs instead; higher is better.
    progress
        Called with what is being done.

    Raises
    ------
    CheckFailedError
        The target is not met even where every layer is in fp32.
    """
    reference = FloatOutputs(original, data)
    tell = progress or (lambda _text: None)
    judge = _Judge(reference, quantize, score, tell)
    start = judge.drop(precisions, "the recipe as it is")
    if start <= target:
        return SearchResult(precisions, (), target, start, start, (), judge.evaluations)
    layers = layer_errors(original, precisions, quantize, reference, tell)
    order = [layer.name for layer in layers]
    found = _meet(judge, precisions, order, target, start)
    raised = tuple(name for name in order if found[name] != precisions[name])
    drop = judge.drop(found, "what was found")
    return SearchResult(found, raised, target, drop, start, layers, judge.evaluations)


def _meet(
    judge: _Judge,
    precisions: Mapping[str, str],
    order: Sequence[str],
    target: float,
    drop: float,
) -> dict[str, str]:
    """Return precisions that meet the target, one step above `precisions` or more."""
    chosen = dict(precisions)
    while any(chosen[name] != FLOAT for name in order):
        raised = _raise(chosen, order)
        drop = judge.drop(raised, "every layer raised")
        if drop <= target:
            return _take_back(judge, chosen, _shortest(judge, chosen, order, target), target)
        chosen = raised
    raise CheckFailedError(
        f"even with every layer in {FLOAT} the drop is {drop:.4g}, above the target {target:g}",
        where="--target-drop",
        hint="allow a larger drop; a score must give the same number for the same outputs",
    )


def _raise(precisions: Mapping[str, str], names: Sequence[str]) -> dict[str, str]:
    return dict(precisions) | {
        name: HIGHER.get(precisions[name], precisions[name]) for name in names
    }


def _shortest(
    judge: _Judge, precisions: Mapping[str, str], order: Sequence[str], target: float
) -> Sequence[str]:
    """Return the shortest head of the sorted layers that meets the target if it is raised."""
    fails, meets = 0, len(order)
    while meets - fails > 1:
        middle = (fails + meets) // 2
        what = f"the {middle} most sensitive layers raised"
        if judge.drop(_raise(precisions, order[:middle]), what) <= target:
            meets = middle
        else:
            fails = middle
    return order[:meets]


def _take_back(
    judge: _Judge, precisions: Mapping[str, str], head: Sequence[str], target: float
) -> dict[str, str]:
    """Return precisions with those of `head` raised that the target needs, tried in few groups.

    The last one of the head is needed, as bisection has shown.
    """
    kept = list(head)
    size = -(-(len(head) - 1) // _MOST_TAKEN_BACK) or 1
    for end in range(len(head) - 1, 0, -size):
        group = set(head[max(0, end - size) : end])
        rest = [name for name in kept if name not in group]
        what = f"{len(rest)} layers raised"
        if judge.drop(_raise(precisions, rest), what) <= target:
            kept = rest
    return _raise(precisions, kept)
