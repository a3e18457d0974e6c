"""Whole small networks against ONNX Runtime: operators, odd sizes, dtypes, symbolic sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.compiler.refusal import refusal
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array


def attention() -> onnx.ModelProto:
    return model_from_text(
        """
        g (float[2,17,24] x) => (float[2,17,24] y) {
          q = MatMul (x, wq)
          k = MatMul (x, wk)
          v = MatMul (x, wv)
          kt = Transpose <perm=[0,2,1]> (k)
          scores = MatMul (q, kt)
          scaled = Mul (scores, factor)
          weights = Softmax <axis=-1> (scaled)
          mixed = MatMul (weights, v)
          summed = Add (mixed, x)
          y = LayerNormalization <axis=-1> (summed, gain, shift)
        }
        """,
        {
            **{
                name: random_array(24, 24, seed=i, scale=0.2) for i, name in enumerate(["wq", "wk"])
            },
            "wv": random_array(24, 24, seed=2, scale=0.2),
            "factor": np.array(0.2, np.float32),
            "gain": random_array(24, seed=3),
            "shift": random_array(24, seed=4),
        },
    )


def vision() -> onnx.ModelProto:
    return model_from_text(
        """
        g (float[1,3,23,31] x) => (float[1,7] y) {
          a = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w1, b1)
          b = Relu (a)
          c = Conv <group=6, pads=[1,1,1,1]> (b, w2)
          d = HardSigmoid (c)
          e = Mul (c, d)
          f = Concat <axis=1> (e, b)
          h = AveragePool <kernel_shape=[3,3], strides=[2,2], ceil_mode=1> (f)
          i = GlobalAveragePool (h)
          j = Flatten (i)
          k = Gemm <transB=1> (j, w3, b3)
          y = LogSoftmax <axis=1> (k)
        }
        """,
        {
            "w1": random_array(6, 3, 3, 3),
            "b1": random_array(6, seed=1),
            "w2": random_array(6, 1, 3, 3, seed=2),
            "w3": random_array(7, 12, seed=3),
            "b3": random_array(7, seed=4),
        },
    )


def tokens() -> onnx.ModelProto:
    return model_from_text(
        """
        g (int64[2,9] ids, bool[2,9] mask) => (int64[2] best, float[2] value) {
          rows = Gather (table, ids)
          flags = Cast <to=1> (mask)
          wide = Unsqueeze (flags, last)
          kept = Mul (rows, wide)
          pooled = ReduceMean <keepdims=0> (kept, middle)
          best = ArgMax <axis=1, keepdims=0> (pooled)
          value = ReduceMax <keepdims=0> (pooled, middle)
        }
        """,
        {
            "table": random_array(50, 11),
            "last": np.array([2]),
            "middle": np.array([1]),
        },
    )


def branches() -> onnx.ModelProto:
    """An If whose branches read an outer tensor, on a condition known only at run time."""
    then = onnx.parser.parse_graph("then () => (float[2,3] a) { a = Relu (doubled) }")
    other = onnx.parser.parse_graph("other () => (float[2,3] b) { b = Neg (doubled) }")
    graph = onnx.parser.parse_graph(
        "g (float[2,3] x, bool flag) => (float[2,3] y) { doubled = Add (x, x) y = Abs (x) }"
    )
    graph.node[1].CopyFrom(
        onnx.helper.make_node("If", ["flag"], ["y"], then_branch=then, else_branch=other)
    )
    return onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10
    )


NETWORKS = {function.__name__: function for function in (attention, vision, tokens, branches)}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_agrees_with_onnxruntime(
    network: Callable[[], onnx.ModelProto], seed: int, tmp_path: Path
) -> None:
    model = network()
    result = verify(
        compile(model, "host", tmp_path / "b").directory, model, tolerance=5e-6, seed=seed
    )
    assert result.ok, result.outputs


@pytest.mark.parametrize("network", [attention, vision])
def test_every_layer_agrees(network: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    model = network()
    directory = compile(model, "host", tmp_path / "b").directory
    layers = verify(directory, model, per_layer=True).layers
    assert len(layers) >= 5
    assert max(error.relative for error in layers) < 5e-6


def test_a_wrong_layer_is_found(tmp_path: Path) -> None:
    """One weight of the bundle differs: the error begins at the layer that has it."""
    right, wrong = vision(), vision()
    for tensor in wrong.graph.initializer:
        if tensor.name == "w2":
            tensor.CopyFrom(onnx.numpy_helper.from_array(random_array(6, 1, 3, 3, seed=9), "w2"))
    directory = compile(wrong, "host", tmp_path / "b").directory
    result = verify(directory, right, per_layer=True)
    assert not result.ok
    assert not result.same_model
    off = [error.name for error in result.layers if error.relative > 1e-3]
    first_right = result.layers[0]
    assert first_right.name == "b"
    assert first_right.relative < 1e-5
    assert off[0] in ("c", "e")


def test_outputs_that_are_inputs_or_constants(tmp_path: Path) -> None:
    model = model_from_text(
        "g (float[2] x) => (float[2] same, float[3] fixed, float[2] y)"
        "{ same = Identity (x) fixed = Identity (c) y = Neg (x) }",
        {"c": np.array([1, 2, 3], np.float32)},
    )
    bundle = open_bundle(compile(model, "host", tmp_path / "b").directory)
    outputs = bundle.run({"x": np.array([4, 5], np.float32)})
    assert {name: array.tolist() for name, array in outputs.items()} == {
        "same": [4, 5],
        "fixed": [1, 2, 3],
        "y": [-4, -5],
    }


SYMBOLIC = "g (float[batch,5] x, float[batch,5] z) => (float[batch,3] y)"


def test_one_bundle_runs_every_size_of_a_symbolic_dimension(tmp_path: Path) -> None:
    model = model_from_text(
        f"{SYMBOLIC} {{ a = Add (x, z) b = MatMul (a, w) y = Relu (b) }}", {"w": random_array(5, 3)}
    )
    result = compile(model, "host", tmp_path / "b")
    assert result.bundle.manifest.inputs[0].shape == ("batch", 5)
    assert result.bundle.manifest.dimensions == {"batch": {"min": 1, "max": None}}
    assert result.bundle.manifest.memory.activations_peak_bytes is None
    bundle = open_bundle(result.directory)
    for size in (1, 2, 7, 64):
        inputs = {"x": random_array(size, 5), "z": random_array(size, 5, seed=1)}
        expected = run_reference(model, inputs)["y"]
        np.testing.assert_allclose(bundle.run(inputs)["y"], expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(UserInputError, match="batch"):
        bundle.run({"x": random_array(2, 5), "z": random_array(3, 5)})


def test_a_bound_dimension_is_static(tmp_path: Path) -> None:
    model = model_from_text(
        f"{SYMBOLIC} {{ a = Add (x, z) y = MatMul (a, w) }}", {"w": random_array(5, 3)}
    )
    manifest = compile(model, "host", tmp_path / "b", {"x": (4, 5)}).bundle.manifest
    assert [spec.shape for spec in manifest.inputs] == [(4, 5), (4, 5)]
    assert manifest.outputs[0].shape == (4, 3)
    # One 4x5 intermediate tensor and one 4x3 output, float32; planned in whole storages.
    assert manifest.memory.activations_peak_bytes == 4 * (20 + 12)


def test_a_network_that_computes_nothing(tmp_path: Path) -> None:
    model = model_from_text("g (float[2] x) => (float[2] y) { y = Identity (x) }")
    for target in ("host", "android-arm64"):
        manifest = compile(model, target, tmp_path / target).bundle.manifest
        assert manifest.elf_check["ok"]
        assert manifest.kernels == ()
    assert verify(tmp_path / "host", model).ok


def test_what_tvm_raises_becomes_a_message() -> None:
    specs = [TensorSpec("x", "float32", ("n", 3)), TensorSpec("z", "int64", (2,))]
    with pytest.raises(UserInputError) as told, refusal("optimise", specs):
        raise RuntimeError("Traceback of C++\nDivide by zero")
    assert told.value.what == "TVM cannot optimise this graph: Divide by zero"
    assert "--shape x=?,3;" in told.value.hint
    assert "z=" not in told.value.hint


def test_a_system_librarys_name_is_not_taken(tmp_path: Path) -> None:
    model = model_from_text("g (float[2] x) => (float[2] y) { y = Neg (x) }")
    with pytest.raises(UserInputError, match=r"liblog\.so"):
        compile(model, "android-arm64", tmp_path / "b", name="log")
    onnx.save(model, tmp_path / "c.onnx")
    manifest = compile(tmp_path / "c.onnx", "android-arm64", tmp_path / "b").bundle.manifest
    assert manifest.library == "libc_model.so"


def test_a_symbol_of_an_input_is_the_outputs_too(tmp_path: Path) -> None:
    model = model_from_text(
        f"{SYMBOLIC} {{ a = Add (x, z) b = MatMul (a, w) y = Softmax (b) }}",
        {"w": random_array(5, 3)},
    )
    manifest = compile(model, "host", tmp_path / "b").bundle.manifest
    assert manifest.outputs[0].shape == ("batch", 3)


def test_a_slice_that_tvm_cannot_lower_is_refused(tmp_path: Path) -> None:
    model = model_from_text(
        "g (float[n,8] x) => (float[m,8] y){ s = Shape (x) i = Gather (s, z) y = Slice (x, z, i) }",
        {"z": np.array([0])},
    )
    with pytest.raises(UserInputError, match="Slice"):
        compile(model, "host", tmp_path / "b")
