"""Name, dtype and shape of one input or output, as the ONNX file names them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a network.

    Attributes
    ----------
    name
        The name in the ONNX file, unchanged.
    dtype
        A numpy dtype name, such as ``float32``; ``bfloat16`` follows ``ml_dtypes``.
    shape
        One entry a dimension: an int where it is fixed, the dimension's name where it is symbolic.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(str(dim) for dim in self.shape)}]"
