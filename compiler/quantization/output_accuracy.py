"""How far quantized outputs are from the float model's, summed up sample by sample."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.targets.errors import CheckFailedError

if TYPE_CHECKING:
    import numpy as np

    from autoglm_tvm.compiler.quantization.reference_runs import FloatOutputs, OnnxSession

# Digits that are the same whatever number of threads ONNX Runtime shares its sums between.
_DIGITS = 5


@dataclass(frozen=True)
class OutputAccuracy:
    """One output of the quantized model against the float model's, over all samples.

    Attributes
    ----------
    name
        The output's name.
    sqnr_db
        Signal to quantization noise, ``10 log10(sum(float^2) / sum((float - quantized)^2))``;
        infinite where nothing differs.
    cosine
        Cosine of the angle between both, all samples as one vector.
    max_abs
        Largest absolute difference.
    relative
        ``max_abs`` over the largest magnitude of the float output.
    top1
        Share of decisions that are the same: the largest entry of the last axis for logits (see
        `logits`), each element for integers and booleans. None where the output decides nothing.
    decisions
        How many there were.
    """

    name: str
    sqnr_db: float
    cosine: float
    max_abs: float
    relative: float
    top1: float | None = None
    decisions: int = 0

    @property
    def drop(self) -> float:
        """What was lost, 0 to 1: decisions that changed, or ``1 - cosine`` where there are none."""
        return 1.0 - self.top1 if self.top1 is not None else 1.0 - self.cosine

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to 5 digits; ``None`` stands for infinity."""
        return {key: rounded(value) for key, value in asdict(self).items()}


def rounded(value: Any) -> Any:
    """Return a float with 5 significant digits, None for an infinite one, others as they are."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None


class OutputSums:
    """Sums over the samples of one output, in float64."""

    def __init__(self, name: str, is_logits: bool) -> None:
        self.name = name
        self._is_logits = is_logits
        self._signal = self._noise = self._found = self._product = 0.0
        self._max_abs = self._largest = 0.0
        self._same = self._decisions = 0

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        """Take in one sample.

        Raises
        ------
        CheckFailedError
            The shapes differ, or `found` is NaN or infinite where `expected` is not.
        """
        import numpy as np

        if expected.shape != found.shape:
            raise CheckFailedError(
                f"the quantized model's output is {list(found.shape)}, "
                f"the float model's is {list(expected.shape)}",
                where=f"output '{self.name}'",
                hint="leave the nodes that compute shapes in fp32 by an exception of the recipe",
            )
        decides = self._is_logits or not np.issubdtype(expected.dtype, np.floating)
        if decides:
            self._count(expected, found)
        theirs, ours = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        finite = np.isfinite(theirs)
        if not np.all(np.isfinite(ours[finite])):
            raise CheckFailedError(
                "the quantized model puts out NaN or Inf where the float model does not",
                where=f"output '{self.name}'",
                hint="leave the layers before it in fp32 by an exception of the recipe",
            )
        theirs, ours = theirs[finite], ours[finite]
        difference = np.abs(theirs - ours)
        self._signal += float(theirs @ theirs)
        self._found += float(ours @ ours)
        self._noise += float(difference @ difference)
        self._product += float(theirs @ ours)
        self._max_abs = max(self._max_abs, float(difference.max(initial=0.0)))
        self._largest = max(self._largest, float(np.abs(theirs).max(initial=0.0)))

    def _count(self, expected: np.ndarray, found: np.ndarray) -> None:
        if self._is_logits:
            expected, found = expected.argmax(-1), found.argmax(-1)
        self._same += int((expected == found).sum())
        self._decisions += expected.size

    def result(self) -> OutputAccuracy:
        """Return what the samples so far amount to."""
        # A float output of zeros only: any noise counts in full.
        exact = self._noise == 0.0
        ratio = self._signal / self._noise if not exact else math.inf
        norms = math.sqrt(self._signal * self._found)
        cosine = self._product / norms if norms > 0 else float(exact)
        return OutputAccuracy(
            self.name,
            10 * math.log10(ratio) if ratio > 0 else -math.inf,
            1.0 if exact else min(cosine, 1.0),
            self._max_abs,
            self._max_abs / (self._largest or 1.0),
            self._same / self._decisions if self._decisions else None,
            self._decisions,
        )


def compare_outputs(
    reference: FloatOutputs, quantized: OnnxSession, logits: Collection[str]
) -> tuple[OutputAccuracy, ...]:
    """Run the quantized model on every sample and return the accuracy of each output.

    Parameters
    ----------
    reference
        The samples with the float model's outputs.
    quantized
        The model to judge; its outputs are named as the float model's.
    logits
        Names of the outputs that are logits.

    Raises
    ------
    CheckFailedError
        An output has NaN or Inf that the float model's has not.
    """
    sums = {name: OutputSums(name, name in logits) for name in quantized.outputs}
    for inputs, expected in reference:
        found = quantized.run(inputs)
        for name, item in sums.items():
            item.add(expected[name], found[name])
    return tuple(item.result() for item in sums.values())


def worst_drop(outputs: Iterable[OutputAccuracy]) -> float:
    """Return the largest drop: of the outputs that decide where there are any, of all otherwise."""
    every = list(outputs)
    deciding = [item for item in every if item.top1 is not None]
    return max((item.drop for item in deciding or every), default=0.0)
