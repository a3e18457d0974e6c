"""Operators on quantized tensors become Q/DQ around operators on floats, with the same results."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from autoglm_tvm.compiler.read import read
from tests.compiler.frontend.quantized.quantized_models import (
    integers,
    kinds,
    quantized,
    same_when_read,
)

Q, DQ = "QuantizeLinear", "DequantizeLinear"
CHANNELS = np.array([0.01, 0.02, 0.03], np.float32)


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_conv(opset, per_channel, bias):
    model = quantized(
        "g (uint8[1,2,8,8] x) => (uint8[1,3,8,8] y)"
        f"{{ y = QLinearConv<pads=[1,1,1,1]>(x,sx,zx,w,sw,zw,sy,zy{',b' if bias else ''}) }}",
        opset,
        w=integers(3, 2, 3, 3, dtype="int8"),
        sw=CHANNELS if per_channel else CHANNELS[0],
        zw=np.zeros(3 if per_channel else (), np.int8),
        b=np.array([100, -2000, 300], np.int32),
    )
    model.graph.node[0].name = "first/conv"
    result = same_when_read(model, {"x": integers(1, 2, 8, 8)})
    assert kinds(result) == [DQ] * (2 + bias) + ["Conv", Q]
    conv = next(node for node in result.proto.graph.node if node.op_type == "Conv")
    assert conv.name == "first/conv"
    assert result.opset == 13


def test_bias_has_the_scale_of_the_products():
    model = quantized(
        "g (uint8[1,2,4,4] x) => (uint8[1,3,2,2] y) { y = QLinearConv(x,sx,zx,w,sw,zw,sy,zy,b) }",
        w=integers(3, 2, 3, 3, dtype="int8"),
        sw=CHANNELS,
        zw=np.int8(0),
        b=np.array([1, 2, 3], np.int32),
    )
    result = same_when_read(model, {"x": integers(1, 2, 4, 4)})
    bias = next(n for n in result.proto.graph.node if n.op_type == DQ and n.input[0] == "b")
    scales = {t.name: t for t in result.proto.graph.initializer}[bias.input[1]]
    np.testing.assert_array_equal(numpy_helper.to_array(scales), np.float32(0.02) * CHANNELS)


@pytest.mark.parametrize(
    ("scale", "zero"),
    [((), ()), ((1,), (1,)), ((4,), (4,))],
    ids=["scalar", "one", "columns"],
)
def test_matmul(scale, zero):
    model = quantized(
        "g (uint8[2,3,8] x) => (uint8[2,3,4] y) { y = QLinearMatMul(x,sx,zx,w,sw,zw,sy,zy) }",
        w=integers(8, 4),
        sw=np.resize(np.array([0.01, 0.02, 0.03], np.float32), scale),
        zw=integers(*zero),
    )
    result = same_when_read(model, {"x": integers(2, 3, 8)})
    assert kinds(result) == [DQ, DQ, "MatMul", Q]


@pytest.mark.parametrize("operator", ["Add", "Mul"])
@pytest.mark.parametrize("shape", ["2,8", "8", "1"])
def test_two_tensors(operator, shape):
    model = quantized(
        f"g (uint8[2,8] x, uint8[{shape}] z) => (uint8[2,8] y)"
        f"{{ y = com.microsoft.QLinear{operator}(x,sx,zx,z,sz,zz,sy,zy) }}"
    )
    dims = map(int, shape.split(","))
    feeds = {"x": integers(2, 8), "z": integers(*dims, seed=1)}
    assert kinds(same_when_read(model, feeds)) == [DQ, DQ, operator, Q]


def test_signed_tensors():
    zero = np.int8(-5)
    model = quantized(
        "g (int8[2,8] x) => (int8[2,8] y) { y = com.microsoft.QLinearAdd(x,sx,zi,x,sx,zi,sy,zi) }",
        zi=zero,
    )
    same_when_read(model, {"x": integers(2, 8, dtype="int8")})


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        ("QLinearSigmoid", ["Sigmoid"]),
        ("QLinearLeakyRelu<alpha=0.2>", ["LeakyRelu"]),
        ("QLinearSoftmax<axis=1,opset=13>", ["Softmax"]),
        ("QLinearSoftmax<axis=-1,opset=11>", ["Softmax"]),
        ("QLinearSoftmax<axis=1,opset=11>", ["Flatten", "Softmax", "Reshape"]),
    ],
)
def test_one_tensor(operator, expected, opset):
    model = quantized(
        "g (uint8[2,8,3] x) => (uint8[a,b,c] y)"
        f"{{ y = com.microsoft.{operator}(x,sx,zx,small,nothing) }}",
        opset,
        small=np.float32(1 / 256),
        nothing=np.uint8(0),
    )
    result = same_when_read(model, {"x": integers(2, 8, 3)}, steps=1)
    assert kinds(result) == [DQ, *expected, Q]


@pytest.mark.parametrize("opset", [13, 18])
def test_mean_that_onnxruntime_only_defines(opset):
    model = quantized(
        "g (uint8[2,8,3] x) => (uint8[a,b,c] y)"
        "{ y = com.microsoft.QLinearReduceMean<axes=[1],keepdims=1>(x,sx,zx,sy,zy) }",
        opset,
    )
    x = integers(2, 8, 3)
    mean = ((x.astype(np.float32) - 120) * np.float32(0.02)).mean(1, keepdims=True)
    expected = np.clip(np.rint(mean / np.float32(0.05)) + 100, 0, 255).astype(np.uint8)
    result = same_when_read(model, {"x": x}, steps=1, expected=[expected])
    assert kinds(result) == [DQ, "ReduceMean", Q]


@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("operator", ["AveragePool", "GlobalAveragePool"])
def test_pools(operator, last):
    shape = "kernel_shape=[2,2]," if operator == "AveragePool" else ""
    model = quantized(
        "g (uint8[2,4,6,8] x) => (uint8[a,b,c,d] y)"
        f"{{ y = com.microsoft.QLinear{operator}<{shape}channels_last={last}>(x,sx,zx,sy,zy) }}"
    )
    result = same_when_read(model, {"x": integers(2, 4, 6, 8)}, steps=1)
    moves = ["Transpose"] * last
    assert kinds(result) == [DQ, *moves, operator, *moves, Q]


def test_concat():
    model = quantized(
        "g (uint8[2,8] x, uint8[2,3] z) => (uint8[2,11] y)"
        "{ y = com.microsoft.QLinearConcat<axis=1>(sy,zy,x,sx,zx,z,sz,zz) }"
    )
    feeds = {"x": integers(2, 8), "z": integers(2, 3)}
    assert kinds(same_when_read(model, feeds)) == [DQ, DQ, "Concat", Q]


def test_where():
    model = quantized(
        "g (bool[2,8] c, uint8[2,8] x, uint8[2,8] z) => (uint8[2,8] y)"
        "{ y = com.microsoft.QLinearWhere(c,x,sx,zx,z,sz,zz,sy,zy) }"
    )
    feeds = {"c": integers(2, 8) > 99, "x": integers(2, 8), "z": integers(2, 8, seed=1)}
    assert kinds(same_when_read(model, feeds)) == [DQ, DQ, "Where", Q]


@pytest.mark.parametrize("quantized_result", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_gemm(quantized_result, alpha):
    model = quantized(
        f"g (uint8[5,8] x) => ({'uint8' if quantized_result else 'float'}[5,3] y)"
        f"{{ y = com.microsoft.QGemm<transB=1,alpha={alpha}>"
        f"(x,sx,zx,w,sw,zw,c{',sy,zy' if quantized_result else ''}) }}",
        w=integers(3, 8),
        sw=CHANNELS,
        zw=integers(3),
        c=np.array([100, -200, 3000], np.int32),
    )
    result = same_when_read(model, {"x": integers(5, 8)})
    assert kinds(result) == [DQ, DQ, DQ, "Gemm", *[Q] * quantized_result]


@pytest.mark.parametrize("bias", [False, True])
def test_matmul_that_quantizes_at_run_time(bias):
    model = quantized(
        "g (float[5,8] x) => (float[5,3] y)"
        f"{{ y = com.microsoft.DynamicQuantizeMatMul(x,w,sw,zw{',b' if bias else ''}) }}",
        w=integers(8, 3),
        sw=CHANNELS,
        zw=integers(3),
        b=np.array([1, 2, 3], np.float32),
    )
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    result = same_when_read(model, {"x": x})
    assert kinds(result)[:2] == ["DynamicQuantizeLinear", "Mul"]
    assert "MatMulInteger" in kinds(result)


@pytest.mark.parametrize("bias", [False, True])
def test_matmul_integer_to_float(bias):
    model = quantized(
        "g (uint8[5,8] x) => (float[5,3] y)"
        f"{{ y = com.microsoft.MatMulIntegerToFloat(x,w,sx,sw,zx,zw{',b' if bias else ''}) }}",
        w=integers(8, 3),
        sw=CHANNELS,
        zw=integers(3),
        b=np.array([1, 2, 3], np.float32),
    )
    result = same_when_read(model, {"x": integers(5, 8)})
    assert kinds(result) == ["MatMulInteger", "Cast", "Mul", *["Add"] * bias]


@pytest.mark.parametrize(
    ("zero", "opset"), [(np.uint8(7), 13), (np.uint16(700), 21)], ids=["8 bits", "16 bits"]
)
def test_contributed_spelling_of_the_standard_operators(zero, opset):
    model = quantized(
        "g (float[5,8] x) => (float[5,8] y)"
        "{ u = com.microsoft.QuantizeLinear(x,sx,z) y = com.microsoft.DequantizeLinear(u,sx,z) }",
        z=zero,
    )
    x = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    result = same_when_read(model, {"x": x})
    assert kinds(result) == [Q, DQ]
    assert not any(node.domain for node in result.proto.graph.node)
    assert result.opset == opset


@pytest.mark.parametrize("table", ["uint8 of 4 bits", "uint8 of 8 bits", "int4", "uint4"])
@pytest.mark.parametrize("zero", [False, True])
def test_embedding_in_blocks(table, zero):
    dtype, _, rest = table.partition(" of ")
    bits = int(rest.split()[0]) if rest else 4
    columns = 16 * bits // 8 if dtype == "uint8" else 16
    zeros = integers(9, 1, dtype=dtype)
    model = quantized(
        "g (int64[2,3] i) => (float[2,3,k] y)"
        f"{{ y = com.microsoft.GatherBlockQuantized<block_size=16,bits={bits},quantize_axis=1>"
        f"(t,i,s{',z' if zero else ''}) }}",
        21,
        t=integers(9, columns, dtype=dtype),
        s=np.random.default_rng(0).uniform(0.1, 1, (9, 1)).astype(np.float32),
        z=zeros,
    )
    indices = np.array([[0, 8, 3], [1, 1, 2]])
    result = same_when_read(model, {"i": indices})
    assert kinds(result)[-1] == DQ


def test_one_spelling_of_scales():
    """A scale of shape [1] is one number, whatever the axis; an axis is counted from the front."""
    model = quantized(
        "g (float[2,3] x) => (float[2,3] y)"
        "{ u = QuantizeLinear<axis=0>(x,one,zone) y = DequantizeLinear<axis=-1>(u,sw,zw) }",
        one=np.array([0.1], np.float32),
        zone=np.array([3], np.uint8),
        sw=CHANNELS,
        zw=integers(3),
    )
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    result = same_when_read(model, {"x": x})
    shapes = {t.name: list(t.dims) for t in result.proto.graph.initializer}
    first, second = result.proto.graph.node
    assert [shapes[name] for name in first.input[1:]] == [[], []]
    assert not first.attribute
    assert second.attribute[0].i == 1


def test_a_chain_keeps_names_and_says_what_it_was():
    model = quantized(
        "g (uint8[1,2,4,4] x) => (uint8[1,3,1,1] y) {"
        "c = QLinearConv(x,sx,zx,w,sx,zw,sy,zy)"
        "a = com.microsoft.QLinearAdd(c,sy,zy,c,sy,zy,sx,zx)"
        "y = com.microsoft.QLinearGlobalAveragePool(a,sx,zx,sy,zy) }",
        w=integers(3, 2, 3, 3, dtype="int8"),
        zw=np.int8(0),
    )
    for node, name in zip(model.graph.node, ("conv", "add", "pool"), strict=True):
        node.name = name
    result = same_when_read(model, {"x": integers(1, 2, 4, 4)}, steps=1)
    names = {node.op_type: node.name for node in result.proto.graph.node}
    assert [names[kind] for kind in ("Conv", "Add", "GlobalAveragePool")] == ["conv", "add", "pool"]
    (note,) = [note for note in result.notes if "Q/DQ" in note]
    assert "QLinearAdd (1), QLinearConv (1), QLinearGlobalAveragePool (1)" in note


def test_inside_a_branch():
    model = quantized(
        "g (bool c, uint8[2,8] x) => (uint8[2,8] y) { y = If (c) <"
        "then_branch = t () => (uint8[2,8] p) {"
        "  p = com.microsoft.QLinearAdd(x,sx,zx,x,sx,zx,sy,zy) },"
        "else_branch = e () => (uint8[2,8] q) {"
        "  q = com.microsoft.QLinearMul(x,sx,zx,x,sx,zx,sy,zy) } > }"
    )
    for chosen in (True, False):
        same_when_read(model, {"c": np.array(chosen), "x": integers(2, 8)})
    branches = [attribute.g for attribute in read(model).proto.graph.node[0].attribute]
    found = sorted([node.op_type for node in branch.node] for branch in branches)
    assert found == [[DQ, DQ, "Add", Q], [DQ, DQ, "Mul", Q]]
