"""Quantized weights stay quantized through everything that the read stage does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autoglm_tvm.compiler.frontend.fold import fold_constants
from autoglm_tvm.compiler.frontend.fold_onnxruntime import fold_with_onnxruntime
from autoglm_tvm.compiler.frontend.fold_onnxslim import fold_with_onnxslim
from autoglm_tvm.compiler.frontend.quantized.constants import quantized_constants, spread
from autoglm_tvm.compiler.read import read
from tests.compiler.frontend.quantized.quantized_models import (
    integers,
    kinds,
    plainly,
    quantized,
    same_when_read,
)

SCALES = np.array([0.01, 0.02, 0.03, 0.04], np.float32)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def constant(result, name: str) -> np.ndarray:
    """Return a constant of what was read, detached or not."""
    inside = {tensor.name: tensor for tensor in result.proto.graph.initializer}
    return result.weights[name] if name in result.weights else numpy_helper.to_array(inside[name])


LINEAR = """g (float[5,8] x) => (float[5,4] y) {
    w = DequantizeLinear<axis=1>(q,s,z)
    two = Add(one,one)
    scaled = Mul(x,two)
    y = MatMul(scaled,w) }"""


@pytest.mark.parametrize("tool", [fold_with_onnxslim, fold_with_onnxruntime])
def test_no_tool_folds_them(tool):
    """Both fold the sum of constants beside it."""
    model = quantized(
        LINEAR, q=integers(8, 4), s=SCALES, z=integers(4), one=np.ones((), np.float32)
    )
    fold_constants(model, {}, (("the tool", tool),))
    assert sorted(node.op_type for node in model.graph.node) == [
        "DequantizeLinear",
        "MatMul",
        "Mul",
    ]
    assert quantized_constants(model.graph) == ["q"]
    assert [value.name for value in model.graph.input] == ["x"]


def test_a_tool_that_folds_all_constants_cannot_fold_them():
    """Today's tools leave DequantizeLinear alone by themselves; nothing promises that."""
    model = quantized(
        LINEAR, q=integers(8, 4), s=SCALES, z=integers(4), one=np.ones((), np.float32)
    )
    seen: list[bool] = []

    def fold_all(copy: onnx.ModelProto) -> onnx.ModelProto:
        seen.append("q" in {tensor.name for tensor in copy.graph.initializer})
        return copy

    fold_constants(model, {}, (("the tool", fold_all),))
    assert seen == [False]
    assert "q" in {tensor.name for tensor in model.graph.initializer}


@pytest.mark.parametrize("detach_above", [None, 100])
def test_a_transposed_weight_is_transposed_at_once(detach_above):
    model = quantized(
        "g (uint8[5,8] x) => (float[5,400] y) { a = DequantizeLinear(x,sx,zx)"
        "  w = DequantizeLinear<axis=0>(q,s,z) t = Transpose(w) y = MatMul(a,t) }",
        q=integers(400, 8),
        s=np.resize(SCALES, 400),
        z=integers(400),
    )
    feeds = {"x": integers(5, 8)}
    result = read(model, detach_above=detach_above)
    assert kinds(result) == ["DequantizeLinear", "DequantizeLinear", "MatMul"]
    node = result.proto.graph.node[1]
    assert node.attribute[0].i == 1
    assert constant(result, node.input[0]).shape == (8, 400)
    assert constant(result, node.input[0]).dtype == np.uint8
    assert bool(result.weights) == (detach_above is not None)
    found = plainly(result.proto, {**feeds, **result.weights})
    np.testing.assert_allclose(found[0], plainly(model, feeds)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("detach_above", [None, 100])
def test_float_weights_before_a_pair_are_quantized(detach_above):
    model = quantized(
        "g (uint8[5,300] x) => (float[5,4] y) { a = DequantizeLinear(x,sx,zx)"
        "  q = QuantizeLinear<axis=1>(w,s,z) d = DequantizeLinear<axis=1>(q,s,z) y = MatMul(a,d) }",
        w=floats(300, 4),
        s=SCALES,
        z=integers(4, dtype="int8"),
    )
    feeds = {"x": integers(5, 300)}
    result = read(model, detach_above=detach_above)
    assert kinds(result) == ["DequantizeLinear", "DequantizeLinear", "MatMul"]
    weight = constant(result, result.proto.graph.node[1].input[0])
    assert weight.dtype == np.int8
    # The float weight is gone, wherever it was.
    assert all(array.dtype != np.float32 or array.size < 300 for array in result.weights.values())
    np.testing.assert_array_equal(
        plainly(result.proto, {**feeds, **result.weights})[0], plainly(model, feeds)[0]
    )


@pytest.mark.parametrize(
    ("dtype", "scale"), [("int8", 0.01), ("uint8", 0.7), ("int4", 0.3), ("uint16", 1e-4)]
)
def test_quantizing_a_constant_is_what_onnxruntime_does(dtype, scale):
    """Halves go to even, what is too large or small to the end of the range."""
    values = np.concatenate([np.arange(-20, 20) * np.float32(scale / 2), floats(200) * 100])
    model = quantized(
        "g (float[1] x) => (float[240] y)"
        "{ q = QuantizeLinear(w,s,z) d = DequantizeLinear(q,s,z) y = Mul(x,d) }",
        21,
        w=values.astype(np.float32),
        s=np.float32(scale),
        z=np.array(3, dtype),
    )
    result = same_when_read(model, {"x": np.ones(1, np.float32)})
    assert kinds(result) == ["DequantizeLinear", "Mul"]


def test_constants_of_few_bits_become_wider():
    model = quantized(
        "g (float[5,8] x) => (float[5,4] y)"
        "{ u = QuantizeLinear(x,sx,zx) a = DequantizeLinear(u,sx,zx)"
        "  w = DequantizeLinear<axis=1>(q,s,z) y = MatMul(a,w) }",
        21,
        q=integers(8, 4, dtype="int4"),
        s=SCALES,
        z=np.zeros(4, "int4"),
    )
    result = same_when_read(model, {"x": floats(5, 8)})
    assert kinds(result) == ["QuantizeLinear", *["DequantizeLinear"] * 2, "MatMul"]
    (name,) = quantized_constants(result.proto.graph)
    assert constant(result, name).dtype == np.int8


def test_a_quantized_output_that_is_constant_stays_an_output():
    model = quantized(
        "g (float[2] x) => (uint8[2] c, float[2] y) { c = QuantizeLinear(w,sx,zx) y = Neg(x) }",
        w=np.array([0.1, 0.2], np.float32),
    )
    same_when_read(model, {"x": np.array([1, 2], np.float32)})


def test_spreading_parameters():
    blocks = spread(np.arange(6).reshape(3, 2), (5, 2), 0, 2)
    np.testing.assert_array_equal(blocks[:, 0], [0, 0, 2, 2, 4])
    assert spread(np.arange(3), (2, 3, 4), -2, 0).shape == (1, 3, 1)
    assert spread(np.ones(1), (2, 3), 1, 0).shape == ()


def test_external_weights_of_4_bits(tmp_path):
    """ONNX packs two in a byte, in a file as well as inside."""
    weight = integers(64, 36, dtype="int4")
    model = quantized(
        "g (float[2,64] x) => (float[2,36] y)"
        "{ w = DequantizeLinear<axis=0,block_size=32>(q,s) y = MatMul(x,w) }",
        21,
        q=weight,
        s=np.random.default_rng(0).uniform(0.1, 1, (2, 36)).astype(np.float32),
    )
    path = tmp_path / "external.onnx"
    feeds = {"x": floats(2, 64)}
    expected = plainly(model, feeds)
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    result = read(path)
    assert kinds(result) == ["MatMulNBits"]
    assert {array.dtype for array in result.weights.values()} <= {np.dtype("u1"), np.dtype("f4")}
    found = plainly(result.proto, {**feeds, **result.weights})
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("axis", "scale"), [(None, ()), (0, (50,)), (1, (8,)), (-1, (8,))], ids=str
)
@pytest.mark.parametrize("zero", [False, True])
def test_rows_of_a_table_are_gathered_as_integers(axis, scale, zero):
    """An embedding of int8 would be the largest weight of its network as floats."""
    attribute = "" if axis is None else f"<axis={axis}>"
    model = quantized(
        "g (int64[2,3] i) => (float[2,3,8] y)"
        f"{{ t = DequantizeLinear{attribute}(q,s{',z' if zero else ''}) y = Gather(t,i) }}",
        q=integers(50, 8),
        s=np.resize(SCALES, scale),
        z=integers(*scale),
    )
    result = same_when_read(model, {"i": np.array([[0, 49, 3], [-1, 7, 7]])})
    assert kinds(result)[0] == "Gather"
    dtypes = {tensor.name: tensor.data_type for tensor in result.proto.graph.initializer}
    assert dtypes[result.proto.graph.node[0].input[0]] == onnx.TensorProto.UINT8
