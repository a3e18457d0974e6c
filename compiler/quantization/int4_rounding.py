"""Round a matrix to integers of four bits in groups that share a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_LOWEST, _HIGHEST, _LEVELS = -8, 7, 15
_MIDDLE = 8
# Shares of the largest weight of a group up to which its integers reach, to be tried: cutting the
# largest one off makes all others finer.
_SHARES = (1.0, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72, 0.68, 0.62)
# Rows of the matrix at a time: its intermediates then fit into memory, and into a cache.
_ELEMENTS = 1 << 19


@dataclass(frozen=True)
class Groups:
    """A matrix [N, K] as integers of four bits.

    Attributes
    ----------
    packed
        uint8 [N, K / group, group / 2], the lower half of a byte first, as MatMulNBits has it.
    scales
        [N, K / group], float32 of float16's values.
    zero_points
        uint8 [N, ceil(K / group / 2)], packed likewise; None where all are 8.
    group
        Weights to a scale.
    snr
        Of the weight, in dB: its power against that of the difference.
    """

    packed: np.ndarray
    scales: np.ndarray
    zero_points: np.ndarray | None
    group: int
    snr: float

    @property
    def reduced(self) -> int:
        """K."""
        return self.packed.shape[1] * self.group

    @property
    def bits(self) -> float:
        """Bits a weight in a bundle, with scales of 16 bits and zero points of 8."""
        return 4 + (16 if self.zero_points is None else 24) / self.group

    def describe(self) -> str:
        """One line for people."""
        kind = "symmetric" if self.zero_points is None else "with zero points"
        return (
            f"{self.reduced} x {len(self.scales)} in groups of {self.group}, {kind}, "
            f"{self.bits:.2f} bits a weight, {self.snr:.1f} dB"
        )


def round_groups(weight: np.ndarray, group: int, symmetric: bool, search: bool = True) -> Groups:
    """Round `weight` [N, K], finite floats of which `group` divides K.

    Parameters
    ----------
    weight
        Any layout in memory.
    group
        Neighbours along K that share a scale.
    symmetric
        Whether zero is the middle of the integers; else each group has a zero point.
    search
        Whether several scales are tried for each group, and the one of the least squares taken.
    """
    import numpy as np

    columns, reduced = weight.shape
    step = max(1, _ELEMENTS // reduced)
    round_some = _round_symmetric if symmetric else _round_asymmetric
    pieces, power, error = [], 0.0, 0.0
    for start in range(0, columns, step):
        part = np.ascontiguousarray(weight[start : start + step], np.float32)
        part = part.reshape(len(part), -1, group)
        numbers, scales, zeros = round_some(part, _SHARES if search else _SHARES[:1])
        difference = _values(numbers, scales, zeros) - part
        power += float(np.square(part, dtype=np.float64).sum())
        error += float(np.square(difference, dtype=np.float64).sum())
        pieces.append((_packed(numbers), scales, zeros))
    packed, scales, zeros = (np.concatenate(part) for part in zip(*pieces, strict=True))
    snr = 10 * float(np.log10(power / error)) if power and error else float("inf")
    return Groups(packed, scales, None if symmetric else _packed(zeros), group, snr)


def _round_symmetric(
    part: np.ndarray, shares: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of 0 to 15, scales and zero points (8) of groups [N, groups, group].

    The largest weight becomes -8, whatever its sign: the scale may be negative.
    """
    import numpy as np

    at = np.abs(part).argmax(axis=-1)[..., None]
    largest = np.take_along_axis(part, at, axis=-1)[..., 0]
    zeros = np.full(largest.shape, _MIDDLE, np.uint8)
    starts = [np.float32(share / _LOWEST) * largest for share in shares]
    if len(shares) > 1:
        # -8 has no counterpart, so that a group with two large weights may do better with 7.
        starts += [np.float32(share / _HIGHEST) * largest for share in shares[:2]]
    return _best(part, [(scales, zeros) for scales in starts])


def _round_asymmetric(
    part: np.ndarray, shares: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with zero points, for groups whose range need not hold zero in its middle."""
    import numpy as np

    low = np.minimum(part.min(axis=-1), 0)
    high = np.maximum(part.max(axis=-1), 0)
    starts = []
    for share in shares:
        scales = _as_half(np.float32(share / _LEVELS) * (high - low))
        safe = np.where(scales == 0, 1, scales)
        zeros = np.clip(np.rint(-low * np.float32(share) / safe), 0, _LEVELS)
        starts.append((scales, zeros.astype(np.uint8)))
    return _best(part, starts)


def _best(
    part: np.ndarray, starts: list[tuple[np.ndarray, np.ndarray]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each group the start of the least squared error, its scale then fitted to its numbers."""
    import numpy as np

    found = None
    for scales, zeros in starts:
        candidates = [_as_half(scales)]
        if len(starts) > 1:
            candidates.append(_fitted(part, candidates[0], zeros))
        for candidate in candidates:
            numbers = _numbers(part, candidate, zeros)
            error = np.square(_values(numbers, candidate, zeros) - part).sum(axis=-1)
            if found is None:
                found = [error, numbers, candidate, zeros.copy()]
                continue
            better = error < found[0]
            found[0] = np.where(better, error, found[0])
            found[1][better] = numbers[better]
            found[2] = np.where(better, candidate, found[2])
            found[3][better] = zeros[better]
    assert found is not None
    return found[1], found[2], found[3]


def _fitted(part: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """The scales of the least squares for the numbers that these scales give."""
    import numpy as np

    signed = _numbers(part, scales, zeros).astype(np.float32) - zeros[..., None]
    squares = np.square(signed).sum(axis=-1)
    fitted = (part * signed).sum(axis=-1) / np.where(squares == 0, 1, squares)
    return _as_half(np.where(squares == 0, scales, fitted))


def _numbers(part: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    import numpy as np

    safe = np.where(scales == 0, 1, scales)[..., None]
    return np.clip(np.rint(part / safe) + zeros[..., None], 0, _LEVELS).astype(np.uint8)


def _values(numbers: np.ndarray, scales: np.ndarray, zeros: np.ndarray) -> np.ndarray:
    """The weights that the numbers stand for."""
    import numpy as np

    return (numbers.astype(np.float32) - zeros[..., None]) * scales[..., None]


def _as_half(scales: np.ndarray) -> np.ndarray:
    """Rounded to float16, the largest of which is 65504."""
    import numpy as np

    limit = np.float32(np.finfo(np.float16).max)
    return np.clip(scales, -limit, limit).astype(np.float16).astype(np.float32)


def _packed(numbers: np.ndarray) -> np.ndarray:
    """Two of the last axis in a byte, the first in its lower half; an odd one is alone in it."""
    import numpy as np

    if numbers.shape[-1] % 2:
        numbers = np.concatenate([numbers, np.zeros_like(numbers[..., :1])], axis=-1)
    return numbers[..., 0::2] | (numbers[..., 1::2] << 4)
