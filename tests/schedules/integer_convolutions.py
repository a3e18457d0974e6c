"""Networks of ConvInteger, and what numpy says that they give."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests.compiler.onnx_text import model_from_text
from tests.schedules.integer_products import random_bytes


@dataclass(frozen=True)
class IntegerConvolution:
    """`x` - `x_zero` [B, C, \\*spatial] convolved with `w` - `w_zero` [O, C / groups, \\*kernel].

    A zero point of None is left out. `pads` are (before each axis, then behind each), as in ONNX.
    """

    x: np.ndarray
    w: np.ndarray
    x_zero: np.ndarray | None = None
    w_zero: np.ndarray | None = None
    strides: tuple[int, ...] = ()
    pads: tuple[int, ...] = ()
    dilations: tuple[int, ...] = ()
    groups: int = 1
    bias: np.ndarray | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def network(self, *, computed_zero: bool = False) -> onnx.ModelProto:
        """The network of an input `x` and an output `y`; `computed_zero` makes an input `a`, too.

        `more` are attributes of the node.
        """
        weights: dict[str, np.ndarray | None] = {"w": self.w, "a": self.x_zero, "b": self.w_zero}
        names = ["x", *[name if array is not None else "" for name, array in weights.items()]]
        if self.bias is not None:
            weights["bias"] = self.bias.reshape(-1, *[1] * (self.x.ndim - 2))
        attributes: dict[str, Any] = {"group": self.groups} | self.more
        for name in ("strides", "pads", "dilations"):
            if getattr(self, name):
                attributes[name] = getattr(self, name)
        result = "y" if self.bias is None else "sums"
        nodes = [helper.make_node("ConvInteger", names, [result], "convolution", **attributes)]
        if self.bias is not None:
            nodes.append(helper.make_node("Add", [result, "bias"], ["y"], "add"))
        inputs = {"x": self.x} | ({"a": self.x_zero} if computed_zero else {})
        graph = helper.make_graph(
            nodes,
            "g",
            [
                helper.make_tensor_value_info(
                    name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
                )
                for name, array in inputs.items()
                if array is not None
            ],
            [helper.make_tensor_value_info("y", onnx.TensorProto.INT32, self.expected().shape)],
            [
                numpy_helper.from_array(array, name)
                for name, array in weights.items()
                if array is not None and name not in inputs
            ],
        )
        opset = helper.make_opsetid("", 17)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)

    def expected(self) -> np.ndarray:
        """Exact, by adding up the products of each element of the kernel."""
        rank = self.x.ndim - 2
        strides, dilations = (sizes or (1,) * rank for sizes in (self.strides, self.dilations))
        pads = self.pads or (0,) * (2 * rank)
        image = self.x.astype(np.int64) - (0 if self.x_zero is None else self.x_zero.astype(int))
        zero = 0 if self.w_zero is None else self.w_zero.astype(int)
        weight = self.w.astype(np.int64) - np.reshape(zero, (-1, *[1] * (rank + 1)))
        image = np.pad(image, [(0, 0), (0, 0), *zip(pads[:rank], pads[rank:], strict=True)])
        batch, kernel = self.x.shape[0], self.w.shape[2:]
        sizes = [
            (image.shape[2 + at] - dilations[at] * (kernel[at] - 1) - 1) // strides[at] + 1
            for at in range(rank)
        ]
        channels = self.w.shape[0] // self.groups
        total = np.zeros((batch, self.groups, channels, *sizes), np.int64)
        grouped = weight.reshape(self.groups, channels, -1, *kernel)
        for at in np.ndindex(*kernel):
            window = tuple(
                slice(i * d, i * d + (size - 1) * s + 1, s)
                for i, d, s, size in zip(at, dilations, strides, sizes, strict=True)
            )
            piece = image[(slice(None), slice(None), *window)]
            piece = piece.reshape(batch, self.groups, -1, *sizes)
            total += np.einsum("bgc...,goc->bgo...", piece, grouped[(..., *at)])
        result = total.reshape(batch, -1, *sizes)
        if self.bias is not None:
            result = result + self.bias.reshape(-1, *[1] * rank)
        return result.astype(np.int32)


# Casts to uint8 (2) or int8 (3) behind sums of which the smallest byte becomes `low`.
REQUANTIZED = """g ({x}[1,3,15,17] x) => ({x}[1,{last},8,9] y) {{
    s1 = ConvInteger <pads = [1, 1, 1, 1], strides = [2, 2]> (x, w1, z)
    b1 = Add (s1, bias) f1 = Cast <to = 1> (b1) m1 = Mul (f1, scale1) c1 = Clip (m1, low, high)
    r1 = Round (c1) i1 = Cast <to = 6> (r1) a1 = Add (i1, zero) q1 = Cast <to = {to}> (a1)
    s2 = ConvInteger (q1, w2, z)
    f2 = Cast <to = 1> (s2) m2 = Mul (f2, scale2) c2 = Clip (m2, low, high)
    r2 = Round (c2) i2 = Cast <to = 6> (r2) a2 = Add (i2, zero) y = Cast <to = {to}> (a2) }}"""


def requantized_network(x: str, channels: int, last: int) -> onnx.ModelProto:
    """Two convolutions of an input `x` [1, 3, 15, 17], each with its requantization to bytes."""
    lowest, zero = int(np.iinfo(x).min), int(np.iinfo(x).min) + 100
    weights = {
        "w1": random_bytes("int8", channels, 3, 3, 3),
        "w2": random_bytes("int8", last, channels, 1, 1),
        "z": np.array(zero, x),
        "bias": np.arange(channels, dtype=np.int32).reshape(channels, 1, 1) * 50,
        "scale1": np.linspace(0.001, 0.01, channels, dtype=np.float32).reshape(channels, 1, 1),
        "scale2": np.array(0.002, np.float32),
        "low": np.array(lowest - zero, np.float32),
        "high": np.array(lowest + 255 - zero, np.float32),
        "zero": np.array(zero, np.int32),
    }
    text = REQUANTIZED.format(x=x, last=last, to=2 if x == "uint8" else 3)
    return model_from_text(text, weights)
