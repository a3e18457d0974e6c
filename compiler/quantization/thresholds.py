"""From the distribution of a tensor's values to the range that quantizes it best.

All methods give up rare large values so that the common ones get finer steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from autoglm_tvm.compiler.quantization.recipe import Int8Settings

#: Bins over [-M, M]. Even, so that zero is an edge.
BINS = 8192
#: Steps of an 8-bit type.
_LEVELS = 256
#: Ranges that the search for the least squared error tries, as parts of what was seen.
_SHRINKS = 64
_SMALLEST = 0.1
#: A tensor counts as of one sign where its other side is this much smaller: hard swish, GELU.
_ONE_SIDED = 16
#: Bins between two thresholds that the entropy method tries.
_STRIDE = 32


def best_range(
    counts: np.ndarray, seen: tuple[float, float], settings: Int8Settings
) -> tuple[float, float]:
    """Return the range that the settings' method chooses, inside of what was seen.

    Parameters
    ----------
    counts
        How many values lie in each of `BINS` equal bins over [-M, M], M the largest magnitude seen.
    seen
        Smallest and largest value.
    """
    low, high = min(seen[0], 0.0), max(seen[1], 0.0)
    if low == high or not counts.sum():
        return seen
    bound = max(-low, high)
    if settings.method == "percentile":
        low, high = _percentile(counts, bound, (low, high), settings.percentile)
    elif settings.method == "entropy":
        one_sided = min(-low, high) < bound / _ONE_SIDED
        threshold = _entropy(counts, one_sided) * bound
        low, high = max(low, -threshold), min(high, threshold)
    else:
        low, high = _least_squares(counts, bound, (low, high), settings.symmetric_activations)
    return low, high


def _percentile(
    counts: np.ndarray, bound: float, seen: tuple[float, float], percentile: float
) -> tuple[float, float]:
    """Keep `percentile` percent of the values: half of the others are cut off at each side.

    Where all values have one sign, all the others are cut off at that side.
    """
    import numpy as np

    low, high = seen
    lost = 1 - percentile / 100
    if low < 0.0 < high:
        lost /= 2
    edges = np.linspace(-bound, bound, BINS + 1)
    below = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    if low < 0.0:
        low = max(low, float(edges[np.searchsorted(below, lost, side="right") - 1]))
    if high > 0.0:
        high = min(high, float(edges[np.searchsorted(below, 1 - lost, side="left")]))
    return min(low, 0.0), max(high, 0.0)


def _entropy(counts: np.ndarray, one_sided: bool) -> float:
    """Return the threshold of least Kullback-Leibler divergence, as a part of the bound.

    Magnitudes are compared before and after quantization (Migacz, 8-bit inference with TensorRT,
    2017). What is cut off counts as the last bin. Zeros, of which a Relu leaves very many, take no
    part: every threshold represents them exactly.
    """
    import numpy as np

    half = BINS // 2
    magnitudes = counts[half:] + counts[:half][::-1]
    if one_sided:
        magnitudes[0] = 0.0
    if not magnitudes.any():
        return 1.0
    levels = _LEVELS if one_sided else _LEVELS // 2
    candidates = range(levels, half + 1, _STRIDE)
    divergences = [_divergence(magnitudes, end, levels) for end in candidates]
    # Of equal ones the widest.
    best = len(divergences) - 1 - int(np.argmin(divergences[::-1]))
    return candidates[best] / half


def _divergence(magnitudes: np.ndarray, end: int, levels: int) -> float:
    import numpy as np

    inside = magnitudes[:end]
    if not inside.any():
        return float("inf")
    reference = inside.copy()
    reference[-1] += magnitudes[end:].sum()
    starts = np.arange(levels) * end // levels
    totals = np.add.reduceat(inside, starts)
    filled = np.add.reduceat((inside > 0).astype(np.float64), starts)
    mean = np.divide(totals, filled, out=np.zeros(levels), where=filled > 0)
    level = np.searchsorted(starts, np.arange(end), side="right") - 1
    quantized = np.where(inside > 0, mean[level], 0.0)
    p, q = reference / reference.sum(), quantized / quantized.sum()
    # A bin that only the cut-off values filled would be infinitely far: a small part instead.
    q = np.where((p > 0) & (q == 0), 1e-9, q)
    used = p > 0
    return float((p[used] * np.log(p[used] / q[used])).sum())


def _least_squares(
    counts: np.ndarray, bound: float, seen: tuple[float, float], symmetric: bool
) -> tuple[float, float]:
    """Return the range of the least squared error: both ends together, then each by itself."""
    import numpy as np

    width = 2 * bound / BINS
    centres = (np.arange(BINS) + 0.5) * width - bound
    used = counts > 0
    centres, weights = centres[used], counts[used]
    shrinks = np.linspace(1.0, _SMALLEST, _SHRINKS)

    def error(low: float, high: float) -> float:
        if symmetric:
            high = max(-low, high)
            low = -high
        step = (high - low) / (_LEVELS - 1)
        if step <= 0.0:
            return float("inf")
        zero = np.round(-low / step)
        steps = np.clip(np.round(centres / step), -zero, _LEVELS - 1 - zero)
        return float((weights * (centres - steps * step) ** 2).sum())

    low, high = seen
    errors = [error(low * part, high * part) for part in shrinks]
    part = float(shrinks[int(np.argmin(errors))])
    low, high = low * part, high * part
    if not symmetric and low < 0.0 < high:
        ends = [max(seen[1] * part, 0.0) for part in shrinks]
        high = float(ends[int(np.argmin([error(low, end) for end in ends]))])
        ends = [min(seen[0] * part, 0.0) for part in shrinks]
        low = float(ends[int(np.argmin([error(end, high) for end in ends]))])
    return low, high
