"""Round numbers for an axis."""

from __future__ import annotations

import math


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Return about so many multiples of 1, 2 or 5 times a power of ten in the range."""
    span = high - low
    if not span > 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(span / about))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda s: abs(span / s - about))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def labels(values: list[float]) -> list[str]:
    """Write ticks with as many decimals as their distance needs."""
    if len(values) < 2:
        return [f"{value:.3g}" for value in values]
    decimals = max(0, -math.floor(math.log10(values[1] - values[0]) + 1e-9))
    return [f"{value:.{decimals}f}" for value in values]
