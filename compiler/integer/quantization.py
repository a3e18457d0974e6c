"""How bytes stand for real numbers: real = (byte - zero point) scale, as ONNX defines it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BYTES = ("uint8", "int8")
# Smallest and largest integer of each type that rules know.
_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "int32": (-(1 << 31), (1 << 31) - 1)}
_RANGES |= {"int4": (-8, 7), "uint4": (0, 15)}


@dataclass(frozen=True)
class Quantization:
    """Scale and zero point of a tensor.

    Attributes
    ----------
    scale, zero_point
        float32 and int32, both of shape [] or, one for each slice along `axis`, [C].
    dtype
        Of the quantized tensor, by its name in numpy.
    float_type
        ONNX's number of the type that it dequantizes to.
    axis
        None for one scale for all.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: str
    float_type: int
    axis: int | None = None

    @property
    def lowest(self) -> int:
        """The smallest integer of the type."""
        return _RANGES[self.dtype][0]

    @property
    def highest(self) -> int:
        """The largest integer of the type."""
        return _RANGES[self.dtype][1]

    @property
    def of_bytes(self) -> bool:
        """Whether it is of 8 bits, with one scale for the whole tensor: what activations are."""
        return self.axis is None and self.dtype in BYTES

    def same_as(self, other: Quantization) -> bool:
        """Whether equal integers stand for equal numbers."""
        import numpy as np

        return (self.dtype, self.axis, self.float_type) == (
            *(other.dtype, other.axis, other.float_type),
        ) and bool(
            np.array_equal(self.scale, other.scale)
            and np.array_equal(self.zero_point, other.zero_point)
        )


@dataclass(frozen=True)
class Quantized:
    """A real tensor as its integers.

    Attributes
    ----------
    tensor
        Name of the tensor of integers.
    how
        What they stand for.
    value
        The integers themselves where they are constant.
    """

    tensor: str
    how: Quantization
    value: np.ndarray | None = None

    @property
    def activation(self) -> bool:
        """Whether it is computed, of 8 bits, with one scale."""
        return self.value is None and self.how.of_bytes

    def real(self) -> np.ndarray:
        """Return what a constant stands for, in float32."""
        import numpy as np

        if self.value is None:
            raise ValueError(f"{self.tensor} is no constant")
        shape = [1] * self.value.ndim
        if self.how.axis is not None:
            shape[self.how.axis] = -1
        scale, zero = self.how.scale.reshape(shape), self.how.zero_point.reshape(shape)
        scaled = (self.value.astype(np.int64) - zero).astype(np.float32) * scale
        return scaled.reshape(self.value.shape)

    def transposed(self, order: tuple[int, ...]) -> Quantized:
        """Return a constant with its axes in another order; its name is of no use any more."""
        if self.value is None:
            raise ValueError(f"{self.tensor} is no constant")
        axis = self.how.axis
        how = self.how if axis is None else replace(self.how, axis=order.index(axis))
        return Quantized("", how, self.value.transpose(order))
