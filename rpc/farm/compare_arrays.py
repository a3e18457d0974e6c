"""Whether two results are the same, by the measure of `verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def difference(found: np.ndarray, reference: np.ndarray, tolerance: float) -> str:
    """Say how ``found`` is wrong; empty if it is right.

    Floating point numbers may differ by ``tolerance`` times the largest magnitude of the
    reference. NaN and Inf must stand where the reference has them; integers must be equal.
    """
    import numpy as np

    if found.shape != reference.shape or found.dtype != reference.dtype:
        return (
            f"is {found.dtype}{list(found.shape)}, "
            f"the reference is {reference.dtype}{list(reference.shape)}"
        )
    if found.size == 0:
        return ""
    if reference.dtype == np.bool_ or np.issubdtype(reference.dtype, np.integer):
        wrong = int(np.count_nonzero(found != reference))
        return f"{wrong} of {found.size} integers differ" if wrong else ""
    ours, theirs = found.astype(np.float64), reference.astype(np.float64)
    finite = np.isfinite(theirs)
    if not np.array_equal(ours[~finite], theirs[~finite], equal_nan=True) or not np.all(
        np.isfinite(ours[finite])
    ):
        return "NaN or Inf is not where the reference has it, or not all of it was written"
    if not finite.any():
        return ""
    max_abs = float(np.max(np.abs(ours[finite] - theirs[finite])))
    # A reference of zeros only: any difference counts in full.
    relative = max_abs / (float(np.max(np.abs(theirs[finite]))) or 1.0)
    if relative <= tolerance:
        return ""
    return f"differs by {relative:.2g} of the largest magnitude, {tolerance:.2g} is allowed"
