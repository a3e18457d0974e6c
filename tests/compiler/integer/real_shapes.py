"""Blocks of real networks in float, and onnxruntime's own quantizer to make Q/DQ models of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.compiler.onnx_text import model_from_text, random_array

Arrays = dict[str, np.ndarray]


def mobile_block() -> onnx.ModelProto:
    """MobileNetV2: strided convolution, expansion, depthwise, projection, residual, head."""
    weights = {
        "w0": random_array(16, 3, 3, 3, scale=0.3), "b0": random_array(16, seed=1),
        "w1": random_array(48, 16, 1, 1, scale=0.3), "b1": random_array(48, seed=2),
        "w2": random_array(48, 1, 3, 3, scale=0.4), "b2": random_array(48, seed=3),
        "w3": random_array(16, 48, 1, 1, scale=0.2), "b3": random_array(16, seed=4),
        "w4": random_array(10, 16, scale=0.3), "b4": random_array(10, seed=5),
        "zero": np.array(0, np.float32), "six": np.array(6, np.float32),
    }  # fmt: skip
    text = """mobile (float[1, 3, 24, 20] x) => (float[1, 10] y) {
        c0 = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, w0, b0)  r0 = Clip(c0, zero, six)
        c1 = Conv(r0, w1, b1)  r1 = Clip(c1, zero, six)
        c2 = Conv<group = 48, pads = [1, 1, 1, 1]>(r1, w2, b2)  r2 = Clip(c2, zero, six)
        c3 = Conv(r2, w3, b3)  a = Add(r0, c3)
        p = GlobalAveragePool(a)  f = Flatten(p)  y = Gemm<transB = 1>(f, w4, b4) }"""
    return model_from_text(text, weights)


def resnet_block() -> onnx.ModelProto:
    """ResNet: stem with pooling, a block with a projected shortcut, concatenation, head."""
    weights = {
        "w0": random_array(24, 3, 5, 5, scale=0.2), "b0": random_array(24, seed=1),
        "w1": random_array(24, 24, 3, 3, scale=0.1), "b1": random_array(24, seed=2),
        "w2": random_array(40, 24, 3, 3, scale=0.1), "b2": random_array(40, seed=3),
        "w3": random_array(40, 24, 1, 1, scale=0.2), "b3": random_array(40, seed=4),
        "w4": random_array(80, 10, scale=0.3), "b4": random_array(10, seed=5),
    }  # fmt: skip
    text = """resnet (float[2, 3, 21, 33] x) => (float[2, 10] y) {
        c0 = Conv<strides = [2, 2], pads = [2, 2, 2, 2]>(x, w0, b0)  r0 = Relu(c0)
        m = MaxPool<kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]>(r0)
        c1 = Conv<pads = [1, 1, 1, 1]>(m, w1, b1)  r1 = Relu(c1)
        c2 = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(r1, w2, b2)
        c3 = Conv<strides = [2, 2]>(m, w3, b3)
        a = Add(c2, c3)  r2 = Relu(a)  k = Concat<axis = 1>(r2, c3)
        p = GlobalAveragePool(k)  f = Flatten(p)  y = Gemm(f, w4, b4) }"""
    return model_from_text(text, weights)


def transformer_block(width: int = 48, heads: int = 4) -> onnx.ModelProto:
    """A layer of BERT: attention, addition and normalisation, Gelu between two products."""
    each = width // heads
    weights: Arrays = {
        "scale": np.array(each**-0.5, np.float32),
        "split": np.array([0, 0, heads, each]), "merge": np.array([0, 0, width]),
        "g": np.ones(width, np.float32), "h": np.zeros(width, np.float32),
        "g2": np.ones(width, np.float32), "h2": np.zeros(width, np.float32),
    }  # fmt: skip
    shapes = {name: (width, width) for name in "qkvo"} | {
        "i": (width, 4 * width),
        "j": (4 * width, width),
    }
    for seed, (name, shape) in enumerate(shapes.items()):
        weights[f"w{name}"] = random_array(*shape, seed=seed, scale=shape[0] ** -0.5)
        weights[f"b{name}"] = random_array(shape[1], seed=seed + 50, scale=0.1)
    projections = "\n".join(
        f"{n}0 = MatMul(x, w{n})  {n}1 = Add(b{n}, {n}0)  {n}2 = Reshape({n}1, split)"
        for n in "qkv"
    )
    text = f"""bert (float[2, 19, {width}] x) => (float[2, 19, {width}] y) {{ {projections}
        q3 = Transpose<perm = [0, 2, 1, 3]>(q2)  k3 = Transpose<perm = [0, 2, 3, 1]>(k2)
        v3 = Transpose<perm = [0, 2, 1, 3]>(v2)
        s0 = MatMul(q3, k3)  s1 = Mul(s0, scale)  s2 = Softmax<axis = -1>(s1)  a0 = MatMul(s2, v3)
        a1 = Transpose<perm = [0, 2, 1, 3]>(a0)  a2 = Reshape(a1, merge)
        o0 = MatMul(a2, wo)  o1 = Add(o0, bo)  o2 = Add(o1, x)
        n0 = LayerNormalization<axis = -1>(o2, g, h)
        i0 = MatMul(n0, wi)  i1 = Add(i0, bi)  r2 = Constant<value_float = 0.70710678>()
        i2 = Mul(i1, r2)  i3 = Erf(i2)  one = Constant<value_float = 1.0>()  i4 = Add(i3, one)
        half = Constant<value_float = 0.5>()  i5 = Mul(i1, half)  i6 = Mul(i5, i4)
        j0 = MatMul(i6, wj)  j1 = Add(j0, bj)  j2 = Add(n0, j1)
        y = LayerNormalization<axis = -1>(j2, g2, h2) }}"""
    return model_from_text(text, weights)


BLOCKS = {"mobile": mobile_block, "resnet": resnet_block, "transformer": transformer_block}


def block_inputs(model: onnx.ModelProto, seed: int = 0) -> Arrays:
    """Normal random inputs."""
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def quantize(
    model: onnx.ModelProto, folder: Path, *, per_channel: bool, activation: str
) -> onnx.ModelProto:
    """What onnxruntime's `quantize_static` makes of a float model in Q/DQ format."""
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        """Three random inputs."""

        def __init__(self) -> None:
            self.batches = iter([block_inputs(model, seed) for seed in range(3)])

        def get_next(self) -> Any:
            return next(self.batches, None)

    result = folder / "quantized.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # It moves the weights of what it is given to a file.
    quantize_static(
        copy,
        str(result),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QUInt8 if activation == "uint8" else QuantType.QInt8,
    )
    return onnx.load(result)
