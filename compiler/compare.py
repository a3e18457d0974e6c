"""How far one tensor is from its reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


# Relative error above which an absolute error within the reference's noise is remarked on.
_SUSPICIOUS = 1e-4


@dataclass(frozen=True)
class TensorError:
    """Difference of one tensor from its reference.

    Attributes
    ----------
    name
        The tensor's name in the ONNX file.
    max_abs
        Largest absolute difference.
    relative
        ``max_abs`` over the largest magnitude in the reference; for integers and booleans the
        share of elements that differ. Infinite where shapes, dtypes or NaN and Inf differ.
    cosine
        Cosine of the angle between both, as flat vectors; 1 where both are zero.
    detail
        Why the error is infinite, or why it says little; empty otherwise.
    noise
        Absolute error of the reference itself: a smaller difference proves nothing against us.
    energy
        Energy of the difference over the reference's, ``sum (a - b)^2 / sum b^2``; infinite where
        `relative` is, and where a reference of zeros is not met.
    """

    name: str
    max_abs: float
    relative: float
    cosine: float
    detail: str = ""
    noise: float = 0.0
    energy: float = 0.0

    def within(self, tolerance: float) -> bool:
        """Whether the error is small against the tensor, or not larger than the reference's own."""
        return self.relative <= tolerance or self.max_abs <= self.noise

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON, which has no infinity: ``None`` stands for it."""
        return {
            key: None if isinstance(value, float) and not isfinite(value) else value
            for key, value in asdict(self).items()
        }


def compare(name: str, found: np.ndarray, reference: np.ndarray, noise: float = 0.0) -> TensorError:
    """Compare one tensor of any dtype with its reference, in float64."""
    import numpy as np

    if found.shape != reference.shape or found.dtype != reference.dtype:
        detail = (
            f"is {found.dtype}{list(found.shape)}, "
            f"the reference is {reference.dtype}{list(reference.shape)}"
        )
        return TensorError(name, inf, inf, 0.0, detail, energy=inf)
    if found.size == 0:
        return TensorError(name, 0.0, 0.0, 1.0)
    ours, theirs = found.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.all(
        np.isfinite(ours[finite])
    ):
        detail = "NaN or Inf is not where the reference has it"
        return TensorError(name, inf, inf, 0.0, detail, energy=inf)
    ours, theirs = ours[finite], theirs[finite]
    if ours.size == 0:
        return TensorError(name, 0.0, 0.0, 1.0)
    max_abs = float(np.max(np.abs(ours - theirs)))
    if "int" in str(reference.dtype) or reference.dtype == np.bool_:
        relative = float(np.mean(ours != theirs))
    else:
        # A reference of zeros only: any difference counts in full.
        relative = max_abs / (float(np.max(np.abs(theirs))) or 1.0)
    norms = float(np.linalg.norm(ours) * np.linalg.norm(theirs))
    same = 1.0 if max_abs == 0.0 else 0.0
    cosine = float(np.dot(ours.ravel(), theirs.ravel())) / norms if norms > 0 else same
    drowned = max_abs <= noise and relative > _SUSPICIOUS
    detail = "as small as the reference's own noise: give real inputs" if drowned else ""
    signal = float(np.sum(np.square(theirs)))
    difference = float(np.sum(np.square(ours - theirs)))
    energy = difference / signal if signal > 0 else (inf if difference > 0 else 0.0)
    return TensorError(name, max_abs, relative, cosine, detail, noise, energy)
