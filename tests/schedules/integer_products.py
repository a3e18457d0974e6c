"""Networks of MatMulInteger, and what numpy says that they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.compiler.onnx_text import model_from_text


@dataclass(frozen=True)
class IntegerProduct:
    """(x - x_zero) times (w - w_zero); a zero point of None is left out."""

    x: np.ndarray
    w: np.ndarray
    x_zero: np.ndarray | None = None
    w_zero: np.ndarray | None = None

    def network(self) -> onnx.ModelProto:
        """The network of an input `x` and an output `y`."""
        weights = {"w": self.w}
        zeros = {"a": self.x_zero, "b": self.w_zero}
        weights |= {name: zero for name, zero in zeros.items() if zero is not None}
        names = ", ".join(["x", "w", *[name if name in weights else "" for name in zeros]])
        dims = ",".join(map(str, self.x.shape))
        rank = ",".join("abcd"[: self.x.ndim])
        return model_from_text(
            f"g ({self.x.dtype}[{dims}] x) => (int32[{rank}] y) "
            f"{{ y = MatMulInteger ({names.rstrip(', ')}) }}",
            weights,
        )

    def expected(self) -> np.ndarray:
        """Exact, and then the low 32 bits."""
        left, right = self.x.astype(np.int64), self.w.astype(np.int64)
        if self.x_zero is not None:
            zero = self.x_zero.astype(np.int64)
            left = left - (zero[:, None] if zero.ndim == 1 and zero.size > 1 else zero)
        if self.w_zero is not None:
            right = right - self.w_zero.astype(np.int64)
        return (left @ right).astype(np.int32)


def random_bytes(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    """Bytes of the whole range, both ends of it among them where there is room."""
    limits = np.iinfo(dtype)
    array = np.random.default_rng((seed, *shape)).integers(limits.min, limits.max + 1, shape)
    array.flat[:1], array.flat[-1:] = limits.min, limits.max
    return array.astype(dtype)
