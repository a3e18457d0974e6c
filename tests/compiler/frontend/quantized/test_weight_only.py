"""Products by a constant weight of 4 or 8 bits in blocks become MatMulNBits."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.frontend.quantized.quantized_models import (
    integers,
    kinds,
    quantized,
    same_when_read,
)

K, N, BLOCK = 70, 6, 32
BLOCKS = 3
PRODUCTS = {
    "MatMul": ("y = MatMul(x,d)", False),
    "Transpose": ("t = Transpose(d) y = MatMul(x,t)", True),
    "Gemm": ("y = Gemm(x,d,b)", False),
    "Gemm transposed": ("y = Gemm<transB=1>(x,d,b)", True),
    "Gemm without bias": ("y = Gemm<transB=1>(x,d)", True),
    "Gemm with a matrix added": ("y = Gemm<transB=1>(x,d,c)", True),
}


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.01, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8"])
def test_blocks(dtype, zero, product):
    text, turned = PRODUCTS[product]
    axis = 1 if turned else 0
    constants = {
        "w": integers(K, N, dtype=dtype),
        "s": positive(BLOCKS, N),
        "z": integers(BLOCKS, N, dtype=dtype),
    }
    if turned:
        constants = {name: value.T.copy() for name, value in constants.items()}
    model = quantized(
        f"g (float[3,{K}] x) => (float[3,{N}] y)"
        f"{{ d = DequantizeLinear<axis={axis},block_size={BLOCK}>(w,s{',z' if zero else ''})"
        f"  {text} }}",
        21,
        b=floats(N),
        c=floats(3, N),
        **constants,
    )
    model.graph.node[-1].name = "layer"
    result = same_when_read(model, {"x": floats(3, K)})
    assert kinds(result) == ["MatMulNBits", *["Add"] * ("added" in product)]
    assert result.proto.graph.node[0].name == "layer"
    assert result.outputs[0].shape == (3, N)


@pytest.mark.parametrize("dtype", ["int4", "int8", "uint8"])
@pytest.mark.parametrize("scale", [positive(N), positive()], ids=["per column", "one scale"])
def test_columns(scale, dtype):
    """Of 8 bits too: the kernel is as fast as one of float32, and its weight a quarter as large."""
    axis = "<axis=1>" if scale.ndim else ""
    model = quantized(
        f"g (float[3,{K}] x) => (float[3,{N}] y)"
        f"{{ d = DequantizeLinear{axis}(w,s) y = MatMul(x,d) }}",
        21,
        w=integers(K, N, dtype=dtype),
        s=scale,
    )
    assert kinds(same_when_read(model, {"x": floats(3, K)})) == ["MatMulNBits"]


@pytest.mark.parametrize(
    ("attributes", "scale", "dtype"),
    [
        ("axis=0", positive(K), "int4"),
        ("axis=0,block_size=7", positive(10, N), "int4"),
        ("axis=1,block_size=2", positive(K, 3), "int4"),
    ],
    ids=["a scale a row", "blocks of 7", "blocks along N"],
)
def test_what_does_not_fit_stays(attributes, scale, dtype):
    model = quantized(
        f"g (float[3,{K}] x) => (float[3,{N}] y)"
        f"{{ d = DequantizeLinear<{attributes}>(w,s) y = MatMul(x,d) }}",
        21,
        w=integers(K, N, dtype=dtype),
        s=scale,
    )
    result = same_when_read(model, {"x": floats(3, K)})
    assert kinds(result) == ["DequantizeLinear", "MatMul"]


def test_half_precision():
    model = quantized(
        f"g (float16[3,{K}] x) => (float16[3,{N}] y)"
        f"{{ d = DequantizeLinear<axis=0,block_size={BLOCK}>(w,s) y = MatMul(x,d) }}",
        21,
        w=integers(K, N, dtype="int4"),
        s=positive(BLOCKS, N).astype(np.float16),
    )
    from autoglm_tvm.compiler.read import read

    assert kinds(read(model)) == ["MatMulNBits"]


@pytest.mark.parametrize("moved", ["a = Relu(b)", "c = Reshape(b,h) a = Identity(c)"])
def test_quantized_activations_are_for_integer_kernels(moved):
    """Their weight, one scale a column, becomes int8; MatMulNBits would compute with floats."""
    model = quantized(
        f"g (float[3,{K}] x) => (float[3,{N}] y)"
        f"{{ u = QuantizeLinear(x,sx,zx) b = DequantizeLinear(u,sx,zx) {moved}"
        "  d = DequantizeLinear<axis=1>(w,s) y = MatMul(a,d) }",
        21,
        w=integers(K, N, dtype="int4"),
        s=positive(N),
        h=np.array([3, K]),
    )
    assert "MatMulNBits" not in kinds(same_when_read(model, {"x": floats(3, K)}))
