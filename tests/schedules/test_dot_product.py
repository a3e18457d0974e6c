"""Products of integers are exact, on every kind of machine that this one can play."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import Target, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import Compiled, compile_in_memory
from tests.schedules.integer_products import IntegerProduct, random_bytes

# CPU, features, what multiplies there.
LEVELS = {
    "this machine": (None, None, None),
    "AVX-512": ("x86-64-v4", None, "pmaddwd"),
    "AVX2 with VNNI": ("x86-64-v3", "+avxvnni", "vnni"),
    "AVX2": ("x86-64-v3", None, "pmaddwd"),
    "AVX": ("x86-64-v2", "+avx", ""),
    "SSE": ("x86-64-v2", None, "pmaddwd"),
}


def target_of(level: str) -> Target:
    cpu, features, kind = LEVELS[level]
    try:
        target = resolve_target("host", cpu=cpu, features=features)
    except UserInputError as error:
        pytest.skip(error.what)
    assert kind is None or machine_of(target).dot_product == kind
    return target


def check(product: IntegerProduct, target: Target | None = None) -> Compiled:
    compiled = compile_in_memory(product.network(), target)
    assert "contraction" in compiled.rules, compiled.rules
    np.testing.assert_array_equal(compiled.run(product.x), product.expected())
    return compiled


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("x", "w"), [("int8", "int8"), ("uint8", "uint8")])
def test_sizes_that_divide_nothing(x: str, w: str, level: str) -> None:
    product = IntegerProduct(
        random_bytes(x, 2, 13, 35),
        random_bytes(w, 35, 71, seed=1),
        random_bytes(x, 1)[0],
        random_bytes(w, 71, seed=2),
    )
    check(product, target_of(level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("rows", "reduced", "columns"),
    [(1, 1, 1), (3, 3, 2), (1, 64, 257), (64, 128, 5)],
)
def test_sizes(rows: int, reduced: int, columns: int, level: str) -> None:
    left, right = random_bytes("uint8", rows, reduced), random_bytes("int8", reduced, columns)
    check(IntegerProduct(left, right, np.array(113, np.uint8)), target_of(level))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("x", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127)])
def test_the_largest_sums(x: str, low: int, high: int, level: str) -> None:
    """Where an instruction saturated, these would be cut off."""
    data = np.repeat(np.array([[low], [high]], x), 300, axis=1)
    weight = np.repeat(np.array([[-128, 127, -127]], np.int8), 300, axis=0)
    check(IntegerProduct(data, weight.repeat(6, axis=1)), target_of(level))


ZERO_POINTS = {
    "none": (None, None),
    "of the input": (np.array(7, np.uint8), None),
    "a vector of one": (np.array([7], np.uint8), None),
    "one for each row": (np.arange(100, 109, dtype=np.uint8), None),
    "scalars": (np.array(255, np.uint8), np.array(-128, np.int8)),
    "one for each column": (np.array(128, np.uint8), random_bytes("int8", 30)),
}


@pytest.mark.parametrize("level", ["this machine", "AVX2"])
@pytest.mark.parametrize("name", ZERO_POINTS)
def test_zero_points(name: str, level: str) -> None:
    zeros = ZERO_POINTS[name]
    product = IntegerProduct(random_bytes("uint8", 9, 24), random_bytes("int8", 24, 30), *zeros)
    check(product, target_of(level))


@pytest.mark.parametrize("level", LEVELS)
def test_a_weight_takes_a_byte(level: str) -> None:
    zeros = np.array(3, np.uint8), random_bytes("int8", 192)
    product = IntegerProduct(random_bytes("uint8", 3, 256), random_bytes("int8", 256, 192), *zeros)
    weights = check(product, target_of(level)).weights
    # Beside it the sums of its columns, and their offsets.
    assert sum(array.nbytes for array in weights) <= product.w.size + 2 * 4 * 192


@pytest.mark.parametrize("rows", [0, 4])
def test_what_is_not_packed(rows: int) -> None:
    """An empty batch, and a weight that another input has."""
    product = IntegerProduct(np.ones((rows, 8), np.uint8), random_bytes("int8", 8, 20))
    np.testing.assert_array_equal(
        compile_in_memory(product.network()).run(product.x), product.expected()
    )
    network = model_from_text(
        "g (uint8[4,9] x, int8[9,21] w, uint8 z) => (int32[4,21] y) { y = MatMulInteger (x, w, z) }"
    )
    left, right = random_bytes("uint8", 4, 9), random_bytes("int8", 9, 21)
    compiled = compile_in_memory(network)
    assert "contraction" in compiled.rules
    actual = compiled.run(left, right, np.array(200, np.uint8))
    expected = (left.astype(np.int32) - 200) @ right.astype(np.int32)
    np.testing.assert_array_equal(actual, expected)


def test_int32() -> None:
    rng = np.random.default_rng(0)
    left, right = (rng.integers(-9999, 9999, s).astype(np.int32) for s in ((19, 37), (37, 41)))
    network = model_from_text(
        "g (int32[19,37] x) => (int32[19,41] y) { y = MatMul (x, w) }", {"w": right}
    )
    compiled = compile_in_memory(network)
    assert compiled.rules == ("contraction",)
    np.testing.assert_array_equal(compiled.run(left), left @ right)


def test_the_bits_do_not_depend_on_threads() -> None:
    product = IntegerProduct(random_bytes("uint8", 70, 96), random_bytes("int8", 96, 160))
    for threads in (1, 8):
        check(product, resolve_target("host", threads=threads))


DYNAMIC = """g (float[2,7,{depth}] x) => (float[2,7,33] y) {{
    q, scale, zero = DynamicQuantizeLinear (x)
    sums = MatMulInteger (q, w, zero, w_zero)
    {rest}
}}"""


@pytest.mark.parametrize("level", ["this machine", "AVX2"])
@pytest.mark.parametrize("weight", ["int8", "uint8"])
def test_dynamic_quantization_up_to_the_sums(weight: str, level: str) -> None:
    text = DYNAMIC.format(depth=48, rest="y = Cast <to=1> (sums)")
    weights = {"w": random_bytes(weight, 48, 33), "w_zero": random_bytes(weight, 33, seed=3)}
    network = model_from_text(text, weights)
    for scale in (0.01, 1.0, 300.0):
        x = random_array(2, 7, 48, scale=scale)
        expected = run_reference(network, {"x": x})["y"]
        np.testing.assert_array_equal(compile_in_memory(network, target_of(level)).run(x), expected)


def test_an_epilogue_stays_in_the_kernel() -> None:
    rest = """floats = Cast <to=1> (sums)
    both = Mul (scale, w_scale)
    scaled = Mul (floats, both)
    biased = Add (scaled, bias)
    y = Relu (biased)"""
    network = model_from_text(
        DYNAMIC.format(depth=48, rest=rest),
        {
            "w": random_bytes("int8", 48, 33),
            "w_zero": np.zeros(33, np.int8),
            "w_scale": np.abs(random_array(33)) * np.float32(0.01),
            "bias": random_array(33, seed=2),
        },
    )
    x = random_array(2, 7, 48)
    compiled = compile_in_memory(network)
    expected = run_reference(network, {"x": x})["y"]
    np.testing.assert_allclose(compiled.run(x), expected, rtol=1e-6, atol=1e-6)
    at = compiled.rules.index("contraction")
    # The product of the scales may be computed there too.
    assert {"integer_matmul", "multiply", "relu"} <= {
        name.rstrip("0123456789") for name in compiled.operators[at]
    }


def test_quantize_dynamic_of_onnxruntime(tmp_path: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    network = model_from_text(
        "g (float[3,40] x) => (float[3,24] y) "
        "{ h = MatMul (x, a) b = Add (h, c) r = Relu (b) y = MatMul (r, d) }",
        {"a": random_array(40, 64), "c": random_array(64), "d": random_array(64, 24)},
    )
    onnx.save(network, tmp_path / "float.onnx")
    x = random_array(3, 40)
    for per_channel in (False, True):
        for kind in (QuantType.QInt8, QuantType.QUInt8):
            path = tmp_path / "quantized.onnx"
            quantize_dynamic(
                tmp_path / "float.onnx", path, per_channel=per_channel, weight_type=kind
            )
            quantized = onnx.load(path)
            compiled = compile_in_memory(quantized)
            assert compiled.rules.count("contraction") == 2
            expected = run_reference(quantized, {"x": x})["y"]
            np.testing.assert_allclose(compiled.run(x), expected, rtol=1e-5, atol=1e-5)


def test_tvms_own_intrinsics_are_not_imported() -> None:
    """That takes 20 to 30 s."""
    code = (
        "import sys, numpy as np\n"
        "from tests.schedules.integer_products import IntegerProduct\n"
        "from tests.schedules.harness import compile_in_memory\n"
        "product = IntegerProduct(np.ones((2, 8), np.uint8), np.ones((8, 16), np.int8))\n"
        "assert 'contraction' in compile_in_memory(product.network()).rules\n"
        "assert not [name for name in sys.modules if name.startswith('tvm.s_tir.tensor_intrin')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
