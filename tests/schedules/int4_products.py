"""Networks of MatMulNBits, and what numpy says that they give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Int4Product:
    """x times a weight of few bits.

    Attributes
    ----------
    x
        [..., K], float32 or float16.
    numbers
        [N, K] from 0 to 2^bits - 1.
    scales, zeros
        [N, groups], of the type of x; zeros, where there are any, uint8 or floats.
    """

    x: np.ndarray
    numbers: np.ndarray
    scales: np.ndarray
    group: int
    bits: int = 4
    zeros: np.ndarray | None = None
    bias: np.ndarray | None = None
    flat: bool = False

    def network(self) -> onnx.ModelProto:
        """The network of an input `x` and an output `y`; weights are constants."""
        columns, reduced = self.numbers.shape
        tensors = {"w": self._blocks(), "s": self._shaped(self.scales)}
        if self.zeros is not None:
            packed = self.zeros.dtype == np.uint8
            tensors["z"] = self._shaped(_packed(self.zeros, self.bits) if packed else self.zeros)
        if self.bias is not None:
            tensors["b"] = self.bias
        operands = ["x", "w", "s", "z" if "z" in tensors else "", "", "b" if "b" in tensors else ""]
        while not operands[-1]:
            operands.pop()
        node = helper.make_node(
            "MatMulNBits",
            operands,
            ["y"],
            name="product",
            domain="com.microsoft",
            K=reduced,
            N=columns,
            bits=self.bits,
            block_size=self.group,
        )
        kind = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        shape = self.x.shape
        graph = helper.make_graph(
            [node],
            "g",
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info("y", kind, (*shape[:-1], columns))],
            [numpy_helper.from_array(array, name) for name, array in tensors.items()],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def weight(self) -> np.ndarray:
        """[K, N] as float64."""
        reduced = self.numbers.shape[1]
        group_of = np.arange(reduced) // self.group
        zeros = 1 << (self.bits - 1) if self.zeros is None else self.zeros.astype(np.float64)
        zeros = np.broadcast_to(zeros, self.scales.shape)[:, group_of]
        return ((self.numbers - zeros) * self.scales.astype(np.float64)[:, group_of]).T

    def expected(self) -> np.ndarray:
        """In float64."""
        result = self.x.astype(np.float64) @ self.weight()
        return result if self.bias is None else result + self.bias

    def limit(self, relative: float) -> np.ndarray:
        """How far float32 sums may be off: a share of the sum of all magnitudes."""
        data = np.abs(self.x.astype(np.float64)) @ np.abs(self.weight())
        return relative * data + 1e-30

    def check(self, actual: np.ndarray, relative: float = 1e-6) -> None:
        """Compare with numpy's; float16 results have its rounding too."""
        assert actual.dtype == self.x.dtype
        expected = self.expected()
        limit = self.limit(relative)
        if self.x.dtype == np.float16:
            # The product is rounded, and then the sum with the bias.
            bias = 0 if self.bias is None else np.abs(self.bias)
            limit = limit + (np.abs(expected) + bias) * 2**-10
        off = np.abs(actual - expected)
        assert (off <= limit).all(), (off / limit).max()

    def _blocks(self) -> np.ndarray:
        columns, reduced = self.numbers.shape
        groups = -(-reduced // self.group)
        # What fills the last group up must not matter.
        filled = np.full((columns, groups * self.group), (1 << self.bits) - 1, np.uint8)
        filled[:, :reduced] = self.numbers
        return _packed(filled, self.bits).reshape(columns, groups, -1)

    def _shaped(self, array: np.ndarray) -> np.ndarray:
        return array.reshape(-1) if self.flat else array


def random_product(
    shape: tuple[int, ...],
    columns: int,
    group: int,
    *,
    bits: int = 4,
    zeros: str = "",
    dtype: str = "float32",
    bias: bool = False,
    flat: bool = False,
) -> Int4Product:
    """A product of fixed seed, all numbers of its width among them; `zeros`: packed or floats."""
    rng = np.random.default_rng((*shape, columns, group, bits))
    groups = -(-shape[-1] // group)
    scales = rng.uniform(0.01, 0.1, (columns, groups)) * rng.choice([-1, 1], (columns, groups))
    points = {
        "packed": rng.integers(0, 1 << bits, (columns, groups)).astype(np.uint8),
        "floats": rng.uniform(0, 1 << bits, (columns, groups)).astype(dtype),
    }
    return Int4Product(
        rng.standard_normal(shape).astype(dtype),
        rng.integers(0, 1 << bits, (columns, shape[-1])).astype(np.uint8),
        scales.astype(np.float16).astype(dtype),
        group,
        bits,
        points.get(zeros),
        rng.standard_normal(columns).astype(dtype) if bias else None,
        flat,
    )


def _packed(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Numbers of the last axis in bytes, from their lowest bits on."""
    each = 8 // bits
    missing = -numbers.shape[-1] % each
    filled = np.concatenate([numbers, np.zeros((*numbers.shape[:-1], missing), np.uint8)], axis=-1)
    split = filled.reshape(*filled.shape[:-1], -1, each).astype(np.uint32)
    shifted = split << (np.arange(each, dtype=np.uint32) * np.uint32(bits))
    return shifted.sum(axis=-1).astype(np.uint8)
