"""The walk along the graph: what is shared, what is cleaned up, what is kept."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.integer import lower_to_integers
from autoglm_tvm.compiler.integer.node_execution import refused, shares
from autoglm_tvm.compiler.read import read
from autoglm_tvm.schedules.machine import Machine
from tests.compiler.integer.harness import (
    DOTPROD,
    PLAIN,
    VNNI,
    integer_outputs,
    lower,
    operators,
    run_onnxruntime,
    runs,
)
from tests.compiler.integer.islands import Island, weight

SCALES = {
    "s": np.array(0.04, np.float32),
    "t": np.array(0.09, np.float32),
    "z": np.array(120, np.uint8),
    "i": np.array(-8, np.int8),
}


def model(text: str, weights: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """The model of one graph in ONNX text; the names of `SCALES` are initializers."""
    graph = onnx.parser.parse_graph(text)
    graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in (SCALES | (weights or {})).items()
    )
    opsets = [onnx.helper.make_opsetid("", 18)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)


def check_same(proto: onnx.ModelProto, arrays: dict[str, np.ndarray], machine: Machine = VNNI):
    """Lower; the integer model must compute what the Q/DQ model does, node by node."""
    lowered = lower(proto, machine)
    ours = integer_outputs(lowered, arrays)
    for found, expected in zip(ours, run_onnxruntime(proto, arrays, fused=False), strict=True):
        np.testing.assert_array_equal(found, expected)
    return lowered


def normal(*shape: int) -> np.ndarray:
    """Random numbers that need all bytes of the scale 0.04."""
    return (2 * np.random.default_rng(shape).standard_normal(shape)).astype(np.float32)


def test_a_float_model_is_handed_on_as_it_is() -> None:
    graph = read(model("g (float[3, 4] x) => (float[3, 4] y) { y = Tanh(x) }"))
    lowered = lower_to_integers(graph, VNNI)
    assert lowered.model is graph
    assert lowered.nodes == ()


def test_bytes_that_a_float_model_moves_do_not_make_it_quantized() -> None:
    text = "g (uint8[3, 4] x) => (float[4, 3] y) { u = Transpose(x)  y = Cast<to = 1>(u) }"
    assert lower_to_integers(read(model(text)), VNNI).nodes == ()


def test_the_model_given_is_not_changed() -> None:
    graph = read(Island("r = Add(ad, bd)", {"a": (3, 4), "b": (3, 4)}).model())
    before = graph.proto.SerializeToString(deterministic=True)
    first = lower_to_integers(graph, DOTPROD).model.proto.SerializeToString(deterministic=True)
    assert graph.proto.SerializeToString(deterministic=True) == before
    second = lower_to_integers(graph, DOTPROD).model.proto.SerializeToString(deterministic=True)
    assert first == second


def test_bytes_of_inputs_and_outputs_keep_their_type() -> None:
    text = """g (int8[3, 8] x) => (int8[3, 8] y, uint8[3, 8] v) {
        d = DequantizeLinear(x, s, i)  e = Relu(d)  y = QuantizeLinear(e, s, i)
        w = QuantizeLinear(e, t, z)  a = DequantizeLinear(w, t, z)  b = Relu(a)
        v = QuantizeLinear(b, t, z) }"""
    x = np.arange(-12, 12, dtype=np.int8).reshape(3, 8)
    for machine in (VNNI, DOTPROD):
        lowered = check_same(model(text), {"x": x}, machine)
        types = [value.type.tensor_type.elem_type for value in lowered.model.proto.graph.output]
        assert types == [onnx.TensorProto.INT8, onnx.TensorProto.UINT8]


@pytest.mark.parametrize(("machine", "dtype"), [(VNNI, "uint8"), (DOTPROD, "int8"), (PLAIN, None)])
@pytest.mark.parametrize("given", ["uint8", "int8"])
def test_inner_activations_get_the_sign_of_the_machine(
    machine: Machine, dtype: str | None, given: str
) -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\nr = MatMul(ad, wd)"
    island = Island(body, {"a": (3, 8)}, weight(8, 5, axis=None), inputs=given, quantized=False)
    lowered = lower(island.model(), machine)
    graph = lowered.model.proto.graph
    product = next(node for node in graph.node if node.op_type == "MatMulInteger")
    zeros = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    assert zeros[product.input[2]].dtype == (dtype or given)
    # 117 as uint8.
    assert zeros[product.input[2]] == (117 if (dtype or given) == "uint8" else -11)
    moved = dtype is not None and dtype != given
    assert any("inner activation" in note for note in lowered.model.notes) == moved
    (ours,) = integer_outputs(lowered, island.arrays())
    (plain,) = run_onnxruntime(island.model(), island.arrays(), fused=False)
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-6 * np.abs(plain).max())


def test_bytes_that_another_node_reads_keep_their_sign() -> None:
    text = """g (float[3, 8] x) => (float[3, 8] y, int32[3, 8] n) {
        q = QuantizeLinear(x, s, i)  d = DequantizeLinear(q, s, i)  y = Relu(d)
        n = Cast<to = 6>(q) }"""
    check_same(model(text), {"x": normal(3, 8)})


def test_equal_q_nodes_of_one_tensor_are_one() -> None:
    text = """g (float[3, 8] x) => (uint8[3, 8] u, uint8[3, 8] v, float[3, 8] y) {
        t0 = Tanh(x)  a = QuantizeLinear(t0, s, z)  b = QuantizeLinear(t0, s, z)
        c = QuantizeLinear(t0, t, z)
        ad = DequantizeLinear(a, s, z)  bd = DequantizeLinear(b, s, z)
        cd = DequantizeLinear(c, t, z)
        m = Add(ad, bd)  u = QuantizeLinear(m, t, z)
        n = Add(ad, cd)  v = QuantizeLinear(n, t, z)  y = Exp(bd) }"""
    lowered = check_same(model(text), {"x": normal(3, 8)})
    assert operators(lowered).count("QuantizeLinear") == 2


def test_equal_q_nodes_behind_a_product_are_one() -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\nr0 = MatMul(ad, wd)\n"
    body += "p = QuantizeLinear(r0, sa, za)\nq = QuantizeLinear(r0, sa, za)\n"
    body += "pd = DequantizeLinear(p, sa, za)\nqd = DequantizeLinear(q, sa, za)\n"
    body += "c = Reshape(pd, k)\nr = Add(c, qd)"
    constants = {**weight(8, 5, axis=None), "k": np.array([3, 5])}
    island = Island(body, {"a": (3, 8)}, constants)
    lowered = lower(island.model())
    assert operators(lowered).count("MatMulInteger") == 1
    assert operators(lowered).count("QuantizeLinear") == 1
    assert "DequantizeLinear" not in operators(lowered)
    (ours,) = integer_outputs(lowered, island.arrays())
    (fused,) = run_onnxruntime(island.model(), island.arrays(), fused=True)
    assert np.abs(ours.astype(int) - fused.astype(int)).max() <= 1


def test_a_product_that_is_needed_in_float_too_is_computed_once() -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\nr0 = MatMul(ad, wd)\nr1 = Tanh(r0)\n"
    body += "p = QuantizeLinear(r0, sa, za)\npd = DequantizeLinear(p, sa, za)\nr = Add(r1, pd)"
    island = Island(body, {"a": (3, 8)}, weight(8, 5, axis=None), quantized=False)
    lowered = lower(island.model())
    assert operators(lowered).count("MatMulInteger") == 1
    (ours,) = integer_outputs(lowered, island.arrays())
    (plain,) = run_onnxruntime(island.model(), island.arrays(), fused=False)
    np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-5)


def test_a_product_that_is_an_output_and_quantized() -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\nr0 = MatMul(ad, wd)\nr = Relu(r0)"
    proto = Island(body, {"a": (3, 8)}, weight(8, 5, axis=None)).model()
    proto.graph.output.append(onnx.helper.make_tensor_value_info("r0", 1, [3, 5]))
    lowered = lower(proto)
    arrays = {"a": normal(3, 8)}
    ours, plain = integer_outputs(lowered, arrays), run_onnxruntime(proto, arrays, fused=False)
    np.testing.assert_array_equal(ours[0], plain[0])
    np.testing.assert_allclose(ours[1], plain[1], rtol=1e-5)


def test_unused_and_shared_constants_leave_no_trace() -> None:
    island = Island("r = Add(ad, bd)", {"a": (3, 4), "b": (3, 4)})
    lowered = lower(island.model())
    used = {name for node in lowered.model.proto.graph.node for name in node.input}
    names = [tensor.name for tensor in lowered.model.proto.graph.initializer]
    assert set(names) <= used
    assert len(names) == len(set(names))


def test_large_weights_stay_outside() -> None:
    body = "wd = DequantizeLinear<axis=1>(w, sw, zw)\nr = MatMul(ad, wd)"
    proto = Island(body, {"a": (3, 64)}, weight(64, 96, axis=1)).model()
    graph = read(proto, detach_above=1024)
    assert graph.weights
    lowered = lower_to_integers(graph, VNNI)
    assert set(runs(lowered).values()) == {"integer"}
    arrays = {"a": normal(3, 64)}
    (ours,) = integer_outputs(lowered, arrays)
    (fused,) = run_onnxruntime(proto, arrays, fused=True)
    np.testing.assert_array_equal(ours, fused)


def test_branches_stay_in_float_and_say_so() -> None:
    text = """g (float[3, 8] x, bool c) => (float[3, 8] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        y = If (c) <then_branch = p () => (float[3, 8] u) { u = Relu(d) },
                    else_branch = n () => (float[3, 8] v) { v = Tanh(d) }> }"""
    proto = model(text)
    for taken in (True, False):
        lowered = check_same(proto, {"x": normal(3, 8), "c": np.array(taken)})
    (node,) = (node for node in lowered.nodes if node.op_type == "If")
    assert node.reason == "it holds branches, which stay in float"


def test_what_kinds_of_nodes_there_are() -> None:
    text = """g (float[6, 8] x) => (float[6, 5] y, float16[6, 8] h) {
        q, qs, qz = DynamicQuantizeLinear(x)  a = MatMulInteger(q, w, qz)  f = Cast<to = 1>(a)
        k = Mul(f, qs)  y = Mul(k, t)  c = Cast<to = 10>(x)  h = Tanh(c) }"""
    lowered = lower(model(text, {"w": weight(8, 5, axis=None)["w"]}))
    by_operator = {node.op_type: node.runs for node in lowered.nodes}
    assert by_operator["MatMulInteger"] == by_operator["DynamicQuantizeLinear"] == "integer"
    assert by_operator["Tanh"] == "half"
    assert by_operator["Mul"] == "float"
    of_work = {share.runs: share.of_multiply_adds for share in shares(lowered.nodes)}
    assert of_work == {"integer": 1.0, "half": 0.0, "float": 0.0}


def test_shares_and_reasons_are_counted() -> None:
    body = "wd = DequantizeLinear(w, sw, zw)\nr0 = MatMul(ad, wd)\nr1 = Softmax(r0)\n"
    body += "p = QuantizeLinear(r1, sa, za)\npd = DequantizeLinear(p, sa, za)\n"
    body += "k = Transpose(pd)\nr = MatMul(pd, k)"
    island = Island(body, {"a": (3, 8)}, weight(8, 5, axis=None), quantized=False)
    lowered = lower(island.model())
    of_work = {share.runs: share.of_multiply_adds for share in shares(lowered.nodes)}
    assert of_work == {"integer": 120 / (120 + 45), "float": 45 / (120 + 45)}
    assert [(each.op_type, each.multiply_adds) for each in refused(lowered.nodes)] == [
        ("MatMul", 45)
    ]
    assert "both of its operands are computed" in str(refused(lowered.nodes)[0])


def test_half_islands_give_half() -> None:
    text = """g (float16[3, 8] x) => (float16[3, 5] y) {
        q = QuantizeLinear(x, hs, z)  d = DequantizeLinear(q, hs, z)
        e = DequantizeLinear(w, ht, wz)  m = MatMul(d, e)  y = Add(m, hb) }"""
    constants = {
        "hs": np.array(0.04, np.float16),
        "ht": np.array(0.01, np.float16),
        "wz": np.array(0, np.int8),
        "w": weight(8, 5, axis=None)["w"],
        "hb": np.linspace(-1, 1, 5, dtype=np.float16),
    }
    proto = model(text, constants)
    proto.opset_import[0].version = 21
    arrays = {"x": normal(3, 8).astype(np.float16)}
    lowered = lower(proto)
    assert set(runs(lowered).values()) == {"integer"}
    (ours,), (plain,) = (
        integer_outputs(lowered, arrays),
        run_onnxruntime(proto, arrays, fused=False),
    )
    assert ours.dtype == np.float16
    # Ours rounds to half once, the other at every step.
    np.testing.assert_allclose(ours.astype(np.float32), plain.astype(np.float32), atol=0.02)


def test_symbolic_sizes_need_not_be_known() -> None:
    text = """g (float[n, 6, h, h] x) => (uint8[n, 4] y) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        e = DequantizeLinear(w, sw, zw)  c = Conv(d, e)  r = Relu(c)
        p = QuantizeLinear(r, t, z)  a = DequantizeLinear(p, t, z)
        m = GlobalAveragePool(a)  f = Flatten(m)  y = QuantizeLinear(f, t, z) }"""
    proto = model(text, weight(4, 6, 3, 3, axis=None))
    lowered = check_same(proto, {"x": normal(2, 6, 7, 7)})
    by_operator = {node.op_type: node for node in lowered.nodes}
    assert by_operator["Conv"].runs == "integer"
    assert by_operator["Conv"].multiply_adds is None
    assert by_operator["GlobalAveragePool"].reason == "how many elements it averages is not known"
    assert [share.of_multiply_adds for share in shares(lowered.nodes)] == [None, None]


@pytest.mark.parametrize("body", ["MatMul(ad, wd)", "Softmax(ad)"])
def test_what_is_quantized_behind_a_movement_is_quantized_before_it(body: str) -> None:
    text = f"wd = DequantizeLinear(w, sw, zw)\nr0 = {body}\nr1 = Transpose(r0)\nr = Reshape(r1, k)"
    island = Island(text, {"a": (3, 8)}, {**weight(8, 8, axis=None), "k": np.array([4, 6])})
    lowered = lower(island.model())
    found = {node.op_type: node for node in lowered.model.proto.graph.node}
    types = {v.name: v.type.tensor_type.elem_type for v in lowered.model.proto.graph.value_info}
    assert types[found["Transpose"].input[0]] == onnx.TensorProto.UINT8
    moves = [node.runs for node in lowered.nodes if node.op_type in ("Transpose", "Reshape")]
    assert moves == ["integer", "integer"]
    (ours,) = integer_outputs(lowered, island.arrays())
    (plain,) = run_onnxruntime(island.model(), island.arrays(), fused=False)
    assert np.abs(ours.astype(int) - plain.astype(int)).max() <= (body[0] == "M")


def test_a_movement_with_another_reader_stays_where_it_is() -> None:
    text = """g (float[3, 8] x) => (uint8[8, 3] y, float[3, 8] u, float[8, 3] v) {
        t0 = Tanh(x)  u = Exp(t0)  t1 = Transpose(t0)  v = Neg(t1)
        y = QuantizeLinear(t1, s, z) }"""
    lowered = check_same(model(text), {"x": normal(3, 8)})
    assert operators(lowered).count("QuantizeLinear") == 1
    assert "DequantizeLinear" not in operators(lowered)


def test_a_tensor_may_be_called_like_its_node() -> None:
    island = model(
        """g (float[1, 4, 5, 5] x) => (float[1, 3, 5, 5] y) {
            xq = QuantizeLinear(x, s, z)
            xd = DequantizeLinear(xq, s, z)
            wd = DequantizeLinear(w, t)
            y = Conv(xd, wd)
        }""",
        {"w": np.arange(12, dtype=np.int8).reshape(3, 4, 1, 1)},
    )
    next(node for node in island.graph.node if node.op_type == "Conv").name = "y"
    names = [node.name for node in lower(island).model.proto.graph.node]
    assert len(names) == len(set(names))


def test_equal_q_nodes_one_of_which_is_an_output() -> None:
    text = """g (float[3, 8] x) => (float[3, 8] y, uint8[3, 8] b) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)  m = Add(d, d)
        a = QuantizeLinear(m, t, z)  b = QuantizeLinear(m, t, z)
        y = DequantizeLinear(a, t, z) }"""
    for machine in (VNNI, DOTPROD):
        lowered = check_same(model(text), {"x": normal(3, 8)}, machine)
        onnx.checker.check_model(with_weights(lowered.model))


def test_bytes_that_a_branch_reads_have_their_name() -> None:
    text = """g (float[1, 2, 4, 4] x, bool c) => (float[1, 2, 2, 2] y, float[1, 2, 2, 2] v) {
        q = QuantizeLinear(x, s, z)  d = DequantizeLinear(q, s, z)
        p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(d)  pq = QuantizeLinear(p, s, z)
        pd = DequantizeLinear(pq, s, z)  v = Tanh(pd)
        y = If (c) <
            then_branch = t () => (float[1, 2, 2, 2] u) { u = DequantizeLinear(pq, s, z) },
            else_branch = e () => (float[1, 2, 2, 2] w) { w = Neg(pd) }> }"""
    for taken in (True, False):
        arrays = {"x": normal(1, 2, 4, 4), "c": np.array(taken)}
        lowered = check_same(model(text), arrays)
    onnx.checker.check_model(with_weights(lowered.model))
    assert runs(lowered)[lowered.nodes[0].name] == "integer"


# Constants of a quantization that rules cannot use, and the reason that is given then.
UNUSABLE = {
    "negative scale": (
        {"p": np.array(-0.05, np.float32), "k": np.array(120, np.uint8)},
        "the scale of its operand is not positive",
    ),
    "16 bits": (
        {"p": np.array(0.05, np.float32), "k": np.array(3, np.int16)},
        "its operand is quantized to 16 bits; kernels take 8",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_rules_cannot_use_stays_in_float_and_says_why(name: str) -> None:
    constants, reason = UNUSABLE[name]
    text = """g (float[1, 2, 4, 4] x) => (float[1, 2, 3, 3] y) {
        q = QuantizeLinear(x, p, k)  d = DequantizeLinear(q, p, k)  r = Relu(d)
        m = MaxPool<kernel_shape=[2, 2]>(r)  o = QuantizeLinear(m, p, k)
        y = DequantizeLinear(o, p, k) }"""
    proto = model(text, constants)
    proto.opset_import[0].version = 21
    lowered = check_same(proto, {"x": normal(1, 2, 4, 4)})
    # The MaxPool only follows: it is not to be blamed.
    assert [(node.runs, node.reason) for node in lowered.nodes] == [
        ("float", reason),
        ("float", ""),
    ]


def test_what_follows_a_refused_node_has_no_reason() -> None:
    text = """g (float[3, 8] x) => (uint8[3, 5] y) {
        n = Tanh(x)  f = Mul(n, h)  q = QuantizeLinear(f, s, z)  d = DequantizeLinear(q, s, z)
        e = DequantizeLinear<axis=0>(w, sw, zw)  m = MatMul(d, e)  g = DequantizeLinear(b, s)
        a = Add(m, g)  r = Relu(a)  y = QuantizeLinear(r, s, z) }"""
    constants = weight(8, 5, axis=0)
    constants |= {"h": np.full(8, 1.5, np.float32), "b": np.arange(5, dtype=np.int32)}
    lowered = check_same(model(text, constants), {"x": normal(3, 8)})
    assert {node.op_type: node.reason for node in lowered.nodes if node.reason} == {
        "MatMul": "its weight is not quantized along the output channels"
    }


def test_a_product_of_floats_that_is_quantized_says_what_it_lacks() -> None:
    text = """g (float[3, 8] x) => (uint8[3, 5] y) {
        m = MatMul(x, f)  y = QuantizeLinear(m, s, z) }"""
    lowered = check_same(model(text, {"f": np.ones((8, 5), np.float32)}), {"x": normal(3, 8)})
    assert [node.reason for node in lowered.nodes] == ["its input is not quantized"]
