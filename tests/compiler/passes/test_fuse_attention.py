import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.reference import run_reference
from tests.compiler.attention_models import LOWEST, Shape, attend, projected
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import Compiled, compile_in_memory

SHAPE = Shape(batch=2, heads=3, rows=7, keys=9, depth=16, width=12)


def run_both(
    model: onnx.ModelProto, inputs: dict[str, np.ndarray], tolerance: float = 2e-6
) -> Compiled:
    """Compile, compare the only output with ONNX Runtime's, and return what was compiled."""
    compiled = compile_in_memory(model)
    found = compiled.run(*inputs.values())
    (expected,) = run_reference(model, inputs).values()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, equal_nan=True)
    return compiled


SCALES = {
    "product divided": ("s0 = MatMul (q, k) s = Div (s0, c)", 4.0),
    "product multiplied": ("s0 = MatMul (q, k) s = Mul (c, s0)", 0.25),
    "query multiplied": ("q0 = Mul (q, c) s = MatMul (q0, k)", 0.25),
    "query divided": ("q0 = Div (q, c) s = MatMul (q0, k)", 4.0),
    "both multiplied": ("q0 = Mul (q, c) k0 = Mul (k, c) s = MatMul (q0, k0)", 0.5),
}


@pytest.mark.parametrize("name", SCALES)
def test_scales(name: str) -> None:
    text, factor = SCALES[name]
    model = projected(SHAPE, text, {"c": np.array(factor, np.float32)})
    operands = SHAPE.operands()
    compiled = run_both(model, operands)
    assert compiled.rules == ("attention",)
    found = compiled.run(*operands.values())
    np.testing.assert_allclose(found, attend(SHAPE, operands), rtol=0, atol=2e-6)


# ONNX text from the product `s0` to the scores `s`.
STEPS = {
    "nothing": "s = Identity (s0)",
    "mask first": "s1 = Add (m, s0) s = Mul (s1, c)",
    "mask subtracted": "s = Sub (s0, m)",
    "select minus infinity": "b = Cast <to = 9> (m) s = Where (b, infinity, s0)",
    "select the lowest": "b = Cast <to = 9> (m) s = Where (b, s0, lowest)",
    "soft cap": "s1 = Tanh (s0) s2 = Mul (s1, c) s = Add (s2, m)",
    "batch axes split": "s1 = Reshape (s0, five) s2 = Add (s1, m) s = Reshape (s2, four)",
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_between_product_and_softmax(name: str) -> None:
    constants = {
        "c": np.float32(0.25),
        "infinity": np.float32(-np.inf),
        "lowest": np.float32(LOWEST),
        "five": np.array([1, 2, 3, 7, 9]),
        "four": np.array([2, 3, 7, 9]),
    }
    text = STEPS[name]
    used = {key: value for key, value in constants.items() if key in text}
    mask = random_array(1, 1, 7, 9).round() if re.search(r"\bm\b", text) else None
    model = projected(SHAPE, f"s0 = MatMul (q, k) {text}", used, mask)
    inputs = SHAPE.operands() | ({} if mask is None else {"m": mask})
    assert "attention" in run_both(model, inputs).rules


def grouped(heads: int, key_heads: int, rows: int, keys: int, depth: int) -> onnx.ModelProto:
    """Key heads are repeated for groups of query heads, as decoders with a cache export it."""
    text = (
        "ku = Unsqueeze (k, two) ke = Expand (ku, wide) kr = Reshape (ke, flat) "
        "vu = Unsqueeze (v, two) ve = Expand (vu, wide) vr = Reshape (ve, flat) "
        "kt = Transpose <perm = [0,1,3,2]> (kr) s0 = MatMul (q, kt) s1 = Mul (s0, c) "
        "s = Add (s1, m) p = Softmax <axis = 3> (s) o = MatMul (p, vr) "
        "t = Transpose <perm = [0,2,1,3]> (o) y = Reshape (t, ys)"
    )
    weights = {
        "two": np.array([2]),
        "wide": np.array([2, key_heads, heads // key_heads, keys, depth]),
        "flat": np.array([2, heads, keys, depth]),
        "c": np.float32(depth**-0.5),
        "ys": np.array([0, rows, heads * depth]),
    }
    head = (
        f"g (float[2,{heads},{rows},{depth}] q, float[2,{key_heads},{keys},{depth}] k, "
        f"float[2,{key_heads},{keys},{depth}] v, float[2,1,{rows},{keys}] m) => (float[a,b,c] y)"
    )
    return model_from_text(f"{head} {{ {text} }}", weights)


@pytest.mark.parametrize("rows", [1, 3, 37], ids=["decode", "few rows", "prefill"])
@pytest.mark.parametrize(("heads", "key_heads"), [(6, 2), (4, 1)])
def test_query_heads_share_key_heads(heads: int, key_heads: int, rows: int) -> None:
    model = grouped(heads, key_heads, rows, 33, 20)
    shapes = [[dim.dim_value for dim in i.type.tensor_type.shape.dim] for i in model.graph.input]
    inputs = {name: random_array(*shape) for name, shape in zip("qkvm", shapes, strict=True)}
    # Nothing copies keys and values for the heads that share them.
    assert run_both(model, inputs).rules == ("attention",)


def joint(tokens: int, heads: int, depth: int, parts: str) -> onnx.ModelProto:
    """One projection for all three, as timm exports it; `parts` computes `q`, `k0` and `v`."""
    text = (
        f"r = Reshape (x, split) t = Transpose <perm = [2,0,3,1,4]> (r) {parts} "
        "q1 = Mul (q, c) k = Transpose <perm = [0,1,3,2]> (k0) s = MatMul (q1, k) "
        "p = Softmax <axis = -1> (s) o = MatMul (p, v) "
        "u = Transpose <perm = [0,2,1,3]> (o) y = Reshape (u, ys)"
    )
    weights = {
        "split": np.array([2, tokens, 3, heads, depth]),
        "c": np.float32(depth**-0.5),
        "ys": np.array([0, tokens, heads * depth]),
        "i0": np.array(0),
        "i1": np.array(1),
        "i2": np.array(2),
        "ones": np.array([1, 1, 1]),
        "zero": np.array([0]),
        "one": np.array([1]),
        "three": np.array([2]),
        "end": np.array([3]),
    }
    used = {key: value for key, value in weights.items() if key in text}
    head = f"g (float[2,{tokens},{3 * heads * depth}] x) => (float[a,b,c] y)"
    return model_from_text(f"{head} {{ {text} }}", used)


PARTS = {
    "Gather": "q = Gather (t, i0) k0 = Gather (t, i1) v = Gather (t, i2)",
    "Split": (
        "q0, k1, v0 = Split <axis = 0> (t, ones) q = Squeeze (q0, zero) "
        "k0 = Squeeze (k1, zero) v = Squeeze (v0, zero)"
    ),
    "Slice": (
        "q0 = Slice (t, zero, one, zero) k1 = Slice (t, one, three, zero) "
        "v0 = Slice (t, three, end, zero) q = Squeeze (q0, zero) k0 = Squeeze (k1, zero) "
        "v = Squeeze (v0, zero)"
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_one_projection_for_all(name: str) -> None:
    model = joint(17, 3, 8, PARTS[name])
    assert run_both(model, {"x": random_array(2, 17, 72)}).rules == ("attention",)


def test_heads_as_a_batch() -> None:
    # torch.nn.MultiheadAttention: [tokens, batch, elements], one batch axis of all heads.
    text = (
        "q1 = Mul (qx, c) q = Reshape (q1, heads) q2 = Transpose <perm = [1,0,2]> (q) "
        "k = Reshape (kx, heads) k2 = Transpose <perm = [1,2,0]> (k) "
        "v = Reshape (vx, heads) v2 = Transpose <perm = [1,0,2]> (v) s = MatMul (q2, k2) "
        "p = Softmax <axis = -1> (s) o = MatMul (p, v2) o2 = Transpose <perm = [1,0,2]> (o) "
        "y = Reshape (o2, ys)"
    )
    weights = {
        "heads": np.array([17, 12, 12]),
        "c": np.float32(12**-0.5),
        "ys": np.array([51, 48]),
    }
    inputs = {name: random_array(17, 3, 48, seed=at) for at, name in enumerate(("qx", "kx", "vx"))}
    declared = ", ".join(f"float[17,3,48] {name}" for name in inputs)
    model = model_from_text(f"g ({declared}) => (float[a,b] y) {{ {text} }}", weights)
    assert run_both(model, inputs).rules == ("attention",)


def plain(
    scores: str = "p = Softmax <axis = -1> (s)",
    tail: str = "y = MatMul (p, v)",
    outputs: str = "float[a,b,c,d] y",
    shapes: tuple[str, str, str] = ("2,3,7,16", "2,3,16,9", "2,3,9,12"),
    dtype: str = "float",
    opset: int = 18,
) -> onnx.ModelProto:
    declared = ", ".join(
        f"{dtype}[{dims}] {name}" for dims, name in zip(shapes, "qkv", strict=True)
    )
    text = f"g ({declared}) => ({outputs}) {{ s = MatMul (q, k) {scores} {tail} }}"
    return model_from_text(text, opset=opset)


@pytest.mark.parametrize("opset", [11, 18])
def test_weights_that_are_nan_become_zero(opset: int) -> None:
    # As torch exports attention with a mask that may leave a query without a key.
    scores = "s1 = Add (s, m) w = Softmax <axis = 3> (s1) b = IsNaN (w) p = Where (b, zero, w)"
    text = f"s = MatMul (q, k) {scores} y = MatMul (p, v)"
    shapes = {"q": (2, 3, 7, 16), "k": (2, 3, 16, 9), "v": (2, 3, 9, 12), "m": (1, 1, 7, 9)}
    declared = ", ".join(
        f"float[{','.join(map(str, shape))}] {name}" for name, shape in shapes.items()
    )
    head = f"g ({declared}) => (float[a,b,c,d] y)"
    zero = {"zero": np.array(0.0, np.float32)}
    model = model_from_text(f"{head} {{ {text} }}", zero, opset=opset)
    inputs = {name: random_array(*shape) for name, shape in shapes.items()}
    inputs["m"] = np.where(inputs["m"] > 0, -np.inf, 0).astype(np.float32)
    inputs["m"][..., 3, :] = -np.inf
    inputs["q"][1, 2, 5, 0] = np.nan
    compiled = run_both(model, inputs)
    assert compiled.rules == ("attention",)
    found = compiled.run(*inputs.values())
    assert not found[:, :, 3].any()
    assert not found[1, 2, 5].any()


@pytest.mark.parametrize("is_causal", [0, 1])
def test_the_standard_operator(is_causal: int) -> None:
    # Its function body zeroes the rows that have no key left.
    text = (
        "g (float[2,4,7,16] q, float[2,2,9,16] k, float[2,2,9,12] v, bool[7,9] m) => "
        f"(float[a,b,c,d] y) {{ y = Attention <is_causal = {is_causal}> (q, k, v, m) }}"
    )
    shapes = {"q": (2, 4, 7, 16), "k": (2, 2, 9, 16), "v": (2, 2, 9, 12)}
    inputs = {name: random_array(*shape) for name, shape in shapes.items()}
    inputs["m"] = random_array(7, 9) > -0.5
    inputs["m"][3] = False
    compiled = compile_in_memory(model_from_text(text, opset=23))
    assert "attention" in compiled.rules
    assert "softmax" not in {name for names in compiled.operators for name in names}
    found = compiled.run(*inputs.values())
    keep = inputs["m"] & (np.tril(np.ones((7, 9), bool)) if is_causal else True)
    heads = {name: np.repeat(inputs[name].astype(np.float64), 2, axis=1) for name in "kv"}
    scores = inputs["q"] @ heads["k"].transpose(0, 1, 3, 2) / 4
    powers = np.exp(scores) * keep
    expected = powers @ heads["v"] / np.maximum(powers.sum(axis=-1, keepdims=True), 1e-30)
    assert not found[:, :, 3].any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


# Reshape, Transpose and Reshape of the product [2, 4, 6, 8].
TAILS = {
    "heads side by side": "a = Transpose <perm = [0,2,1,3]> (o) y = Reshape (a, wide)",
    "one row": "a = Reshape (o, row) y = Identity (a)",
    "axes split and merged": "a = Reshape (o, strange) y = Transpose <perm = [3,0,2,1]> (a)",
    "no map that TVM inverts": (
        "a = Transpose <perm = [0,2,1,3]> (o) b = Reshape (a, matrix) "
        "c = Transpose <perm = [1,0]> (b) y = Reshape (c, other)"
    ),
}


@pytest.mark.parametrize("name", TAILS)
def test_views_of_the_result(name: str) -> None:
    shapes = {"wide": [2, 6, 32], "row": [384], "strange": [8, 3, 2, 8]}
    shapes |= {"matrix": [16, 24], "other": [8, 48]}
    constants = {key: np.array(value) for key, value in shapes.items() if key in TAILS[name]}
    rank = {"one row": "a", "heads side by side": "a,b,c", "axes split and merged": "a,b,c,d"}
    text = "s = MatMul (q, k) p = Softmax <axis = -1> (s) o = MatMul (p, v)"
    head = (
        "g (float[2,4,6,16] q, float[2,4,16,9] k, float[2,4,9,8] v) => "
        f"(float[{rank.get(name, 'a,b')}] y)"
    )
    model = model_from_text(f"{head} {{ {text} {TAILS[name]} }}", constants)
    inputs = {"q": (2, 4, 6, 16), "k": (2, 4, 16, 9), "v": (2, 4, 9, 8)}
    compiled = run_both(model, {key: random_array(*shape) for key, shape in inputs.items()})
    assert compiled.rules[0] == "attention"
    assert (len(compiled.rules) == 1) == (name != "no map that TVM inverts")


FUSED = {
    "operands as they are": plain(),
    "something behind it": plain(tail="o = MatMul (p, v) y = Relu (o)"),
    "keys and values broadcast": plain(shapes=("2,3,7,16", "3,16,9", "9,12")),
    "softmax of a matrix": plain("p = Softmax <axis = 3> (s)", opset=11),
}


@pytest.mark.parametrize("name", FUSED)
def test_fuses_and_stays_exact(name: str, tmp_path: Path) -> None:
    result = compile(FUSED[name], "host", tmp_path / "b")
    rules = [kernel.rule for kernel in result.bundle.manifest.kernels]
    assert "attention" in rules
    assert "softmax" not in {op for k in result.bundle.manifest.kernels for op in k.operators}
    assert verify(result.directory, FUSED[name], tolerance=2e-6).ok


SEPARATE = {
    "the weights are an output": plain(outputs="float[a,b,c,d] y, float[e,f,g,h] p"),
    "the scores are an output": plain(outputs="float[a,b,c,d] y, float[e,f,g,h] s"),
    "the weights have another reader": plain(
        tail="o = MatMul (p, v) z = ReduceMax (p) y = Add (o, z)"
    ),
    "weights are tested and used": plain(
        tail="b = IsNaN (p) one = Constant <value_float = 1.0> () w = Where (b, one, p) "
        "y = MatMul (w, v)"
    ),
    "the scores have another reader": plain(
        tail="o = MatMul (p, v) z = ReduceMax (s) y = Add (o, z)"
    ),
    "softmax along another axis": plain("p = Softmax <axis = 2> (s)"),
    "the product meets itself": plain("u = Mul (s, s) p = Softmax <axis = -1> (u)"),
    "values have more batches": plain(shapes=("3,7,16", "3,16,9", "2,3,9,12")),
    "softmax in float64": plain(
        "u = Cast <to = 11> (s) x = Softmax <axis = -1> (u) p = Cast <to = 1> (x)"
    ),
    "float64": plain(dtype="double", outputs="double[a,b,c,d] y"),
    "matrices": plain(shapes=("7,16", "16,9", "9,12"), outputs="float[a,b] y"),
    "symbolic": plain(shapes=("2,3,n,16", "2,3,16,9", "2,3,9,12")),
}


@pytest.mark.parametrize("name", SEPARATE)
def test_leaves_alone_what_it_cannot_fuse(name: str, tmp_path: Path) -> None:
    model = SEPARATE[name]
    result = compile(model, "host", tmp_path / "b")
    assert "attention" not in {kernel.rule for kernel in result.bundle.manifest.kernels}
    assert verify(result.directory, model, tolerance=2e-6).ok


def test_a_constant_matrix_is_no_key(tmp_path: Path) -> None:
    # A router: its product with the weights is better off packed.
    text = "s = MatMul (x, w) p = Softmax <axis = -1> (s) y = MatMul (p, v)"
    head = "g (float[2,5,8] x, float[2,6,9] v) => (float[a,b,c] y)"
    model = model_from_text(f"{head} {{ {text} }}", {"w": random_array(8, 6)})
    result = compile(model, "host", tmp_path / "b")
    assert "attention" not in {kernel.rule for kernel in result.bundle.manifest.kernels}
    assert verify(result.directory, model, tolerance=2e-6).ok


def test_half_precision_is_summed_and_normalised_in_float32() -> None:
    model = plain(dtype="float16", outputs="float16[a,b,c,d] y")
    shapes = {"q": (2, 3, 7, 16), "k": (2, 3, 16, 9), "v": (2, 3, 9, 12)}
    inputs = {
        name: random_array(*shape, seed=at).astype(np.float16)
        for at, (name, shape) in enumerate(shapes.items())
    }
    compiled = compile_in_memory(model)
    assert compiled.rules == ("attention",)
    found = compiled.run(*inputs.values())
    assert found.dtype == np.float16
    exact = {name: array.astype(np.float64) for name, array in inputs.items()}
    scores = (exact["q"] @ exact["k"]).astype(np.float16).astype(np.float64)
    powers = np.exp(scores)
    expected = powers / powers.sum(axis=-1, keepdims=True) @ exact["v"]
    # Half a unit in the last place of a float16 near 2.
    np.testing.assert_allclose(found.astype(np.float64), expected, rtol=0, atol=2**-10)


def test_the_kernel_is_known_by_the_tensor_that_it_computes(tmp_path: Path) -> None:
    model = projected(SHAPE, "s0 = MatMul (q, k) s = Div (s0, c)", {"c": np.array(4.0, np.float32)})
    node = model.graph.node[-1]
    result = compile(model, "host", tmp_path / "b")
    (kernel,) = result.bundle.manifest.kernels
    assert kernel.output == node.output[0] == "y"
    verdict = verify(result.directory, model, per_layer=True, tolerance=2e-6)
    assert [layer.name for layer in verdict.layers] == ["y"]
    assert verdict.ok
