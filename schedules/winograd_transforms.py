"""Winograd's transforms of image, weight and result for 3x3 kernels, along one dimension.

    m results of a 3-tap filter = A^T [(G w) * (B^T d)],   d: m + 2 neighbouring pixels

This is Toom and Cook's multiplication of polynomials, evaluated at 0, at infinity and at pairs of
points +-p. B^T and A^T have structure: both rows of a pair share their even and their odd part.

The points decide how rounding errors grow (Barabasz et al., 2020, "Error analysis and improving the
accuracy of Winograd convolution for deep neural networks"). Those here and their powers are exact
in float32. Largest error of F(4x4) in float32 against float64, over the largest result, on 512
channels of ReLU activations and He weights: 1.4e-5 with Lavin's points (1, 2), 6.2e-6 with
(1/2, 2), 3.1e-6 with (3/4, 3/2), 1.6e-6 for the direct sum and 0.8e-6 for F(2x2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np


@dataclass(frozen=True)
class Transforms:
    """The transforms of F(m x m, 3 x 3).

    Attributes
    ----------
    outputs
        m: rows and columns of results of one tile.
    points
        The positive one of each pair of points, m / 2 of them.
    """

    outputs: int
    points: tuple[float, ...]

    @property
    def size(self) -> int:
        """Rows and columns of pixels that a tile reads, and of its products."""
        return self.outputs + 2

    def input_row(self, index: int, pixels: Sequence[Any]) -> Any:
        """Row `index` of B^T times `size` pixels."""
        if index in (0, self.size - 1):
            return _polynomial(self.points, pixels[1 if index else 0 :: 2])
        pair, negative = divmod(index - 1, 2)
        others = self.points[:pair] + self.points[pair + 1 :]
        even, odd = _polynomial(others, pixels[2::2]), _polynomial(others, pixels[1:-1:2])
        return even + _times(-self.points[pair] if negative else self.points[pair], odd)

    def output_row(self, index: int, products: Sequence[Any]) -> Any:
        """Row `index` of A^T times `size` products."""
        total = products[-1] if index == self.outputs - 1 else None
        total = total if index else products[0]
        for pair, point in enumerate(self.points):
            plus, minus = products[1 + 2 * pair], products[2 + 2 * pair]
            term = _times(point**index, plus - minus if index % 2 else plus + minus)
            total = term if total is None else total + term
        return total

    def weight_matrix(self) -> np.ndarray:
        """G, [size, 3], in float64."""
        import numpy as np

        rows = [[1.0 / np.prod([-(point**2) for point in self.points]), 0.0, 0.0]]
        for at, point in enumerate(self.points):
            others = self.points[:at] + self.points[at + 1 :]
            scale = 2 * point**2 * np.prod([point**2 - other**2 for other in others])
            rows += [[1 / scale, sign * point / scale, point**2 / scale] for sign in (1, -1)]
        return np.array([*rows, [0.0, 0.0, 1.0]])

    def weight(self, weight: np.ndarray) -> np.ndarray:
        """G w G^T of a weight OHWI: [size, size, I, O], rounded once from float64.

        Element by element, so that it has the same bits on every machine, unlike a matrix product.
        """
        import numpy as np

        matrix = self.weight_matrix()
        exact = weight.astype(np.float64).transpose(1, 2, 3, 0)
        rows = [_combined(row, exact) for row in matrix]
        both = [[_combined(row, part) for row in matrix] for part in rows]
        return np.array(both, dtype=weight.dtype)


F2 = Transforms(2, (1.0,))
F4 = Transforms(4, (0.75, 1.5))


def _combined(factors: np.ndarray, taps: np.ndarray) -> np.ndarray:
    return factors[0] * taps[0] + factors[1] * taps[1] + factors[2] * taps[2]


def _polynomial(roots: Sequence[float], values: Sequence[Any]) -> Any:
    """The product of (x - root^2), where `values` stand for the powers of x."""
    coefficients = [1.0]
    for root in roots:
        shifted = [0.0, *coefficients]
        scaled = [*(-(root**2) * each for each in coefficients), 0.0]
        coefficients = [a + b for a, b in zip(shifted, scaled, strict=True)]
    total = values[-1]
    for coefficient, value in zip(coefficients[-2::-1], values[-2::-1], strict=True):
        total = total + _times(coefficient, value)
    return total


def _times(coefficient: float, value: Any) -> Any:
    return value if coefficient == 1.0 else value * coefficient
