"""Matrix products and convolutions against numpy, on sizes that divide no tile."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile
from autoglm_tvm.targets import Target, resolve_target
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.exact import EPILOGUES, convolve, transposed
from tests.schedules.harness import Compiled, compile_in_memory

# AVX-512 (where this machine has it), AVX2, SSE: 64, 32 and 16 bytes in a vector.
CPUS = (None, "x86-64-v3", "x86-64-v2")


def host(cpu: str | None) -> Target:
    target = resolve_target("host")
    if cpu is not None and target.arch != "x86_64":
        pytest.skip("an x86-64 CPU")
    return target if cpu is None else resolve_target("host", cpu=cpu)


def declared(name: str, array: np.ndarray) -> str:
    dtype = {"float32": "float", "float16": "float16", "float64": "double"}[str(array.dtype)]
    return f"{dtype}[{','.join(map(str, array.shape))}] {name}"


def network(body: str, inputs: dict[str, np.ndarray], rank: int, **weights: np.ndarray) -> Any:
    (first, *_) = inputs.values()
    result = declared("y", np.empty((0,), first.dtype)).replace(
        "[0]", f"[{','.join('abcd'[:rank])}]"
    )
    declarations = ", ".join(declared(name, array) for name, array in inputs.items())
    return model_from_text(f"g ({declarations}) => ({result}) {{ {body} }}", weights)


def close(actual: np.ndarray, expected: np.ndarray, of_largest: float = 2e-6) -> None:
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=1e-30)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=of_largest * largest)


def took(compiled: Compiled, rule: str) -> None:
    assert rule in compiled.rules, compiled.rules


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((1, 1), (1, 1)),
        ((1, 129), (129, 1)),
        ((1, 64), (64, 257)),
        ((2, 33), (33, 100)),
        ((3, 5), (5, 2)),
        ((37, 41), (41, 43)),
        ((128, 16), (16, 48)),
        ((2, 13, 24), (24, 33)),
        ((2, 3, 11, 7), (7, 20)),
        ((5, 1, 7), (7, 65)),
    ],
)
def test_matmul_with_a_constant(left: tuple[int, ...], right: tuple[int, int], cpu: str) -> None:
    data, weight = random_array(*left), random_array(*right, seed=1)
    compiled = compile_in_memory(
        network("y = MatMul (x, w)", {"x": data}, len(left), w=weight), host(cpu)
    )
    took(compiled, "contraction")
    close(compiled.run(data), data.astype(np.float64) @ weight)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((3, 7), (7, 5)),
        ((2, 17, 9), (2, 9, 33)),
        ((2, 3, 17, 8), (2, 3, 8, 16)),
        ((2, 3, 17, 8), (3, 8, 19)),
        ((1, 3, 1, 8), (2, 1, 8, 1)),
        ((4, 20, 20), (1, 20, 20)),
    ],
)
def test_matmul_of_two_inputs(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = random_array(*left), random_array(*right, seed=1)
    rank = max(len(left), len(right))
    compiled = compile_in_memory(network("y = MatMul (x, z)", {"x": a, "z": b}, rank))
    took(compiled, "contraction")
    close(compiled.run(a, b), a.astype(np.float64) @ b)


@pytest.mark.parametrize("shape", [(0, 24), (2, 0, 24)])
def test_matmul_of_an_empty_batch(shape: tuple[int, ...]) -> None:
    data, weight = random_array(*shape), random_array(24, 33, seed=1)
    compiled = compile_in_memory(network("y = MatMul (x, w)", {"x": data}, len(shape), w=weight))
    assert compiled.run(data).shape == (*shape[:-1], 33)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_matmul_of_other_floats(dtype: str) -> None:
    data, weight = (random_array(*s).astype(dtype) for s in ((19, 300), (300, 41)))
    compiled = compile_in_memory(network("y = MatMul (x, w)", {"x": data}, 2, w=weight))
    took(compiled, "contraction")
    expected = data.astype(np.float64) @ weight.astype(np.float64)
    close(compiled.run(data), expected, {"float16": 5e-4, "float64": 1e-15}[dtype])


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1x1": ((1, 24, 13, 13), (33, 24, 1, 1), {}),
    "1x1 of a batch": ((3, 24, 5, 7), (20, 24, 1, 1), {}),
    "1x1 of one pixel": ((1, 40, 1, 1), (10, 40, 1, 1), {}),
    "1x1 with stride": ((2, 8, 9, 10), (12, 8, 1, 1), {"strides": (2, 2)}),
    "1x1 with padding": ((1, 8, 5, 5), (12, 8, 1, 1), {"pads": (1, 1, 1, 1)}),
    "5x5": ((1, 3, 23, 19), (7, 3, 5, 5), {"pads": (2, 2, 2, 2)}),
    "3x3 with stride": ((2, 5, 19, 23), (17, 5, 3, 3), {"pads": (1, 1, 1, 1), "strides": (2, 2)}),
    "3x3 dilated": ((1, 8, 15, 17), (20, 8, 3, 3), {"pads": (2, 2, 2, 2), "dilations": (2, 2)}),
    "3x3 with uneven padding": ((1, 6, 9, 11), (16, 6, 3, 3), {"pads": (0, 1, 2, 3)}),
    "7x7 with stride": ((1, 3, 37, 41), (16, 3, 7, 7), {"pads": (3, 3, 3, 3), "strides": (2, 2)}),
    "1x7": ((1, 6, 9, 14), (12, 6, 1, 7), {"pads": (0, 3, 0, 3)}),
    "whole image": ((1, 6, 4, 5), (12, 6, 4, 5), {}),
    "groups of 8": ((1, 24, 9, 11), (48, 8, 3, 3), {"group": 3, "pads": (1, 1, 1, 1)}),
    "groups of 3": ((2, 12, 9, 11), (9, 4, 3, 3), {"group": 3, "strides": (2, 1)}),
    "groups of 1x1": ((1, 12, 7, 7), (20, 6, 1, 1), {"group": 2}),
}


def attributes(values: dict[str, Any]) -> str:
    texts = [f"{key}={list(v) if isinstance(v, tuple) else v}" for key, v in values.items()]
    return f"<{', '.join(texts)}>" if texts else ""


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str, cpu: str | None) -> None:
    shape, kernel, how = CONVOLUTIONS[name]
    data, weight = random_array(*shape), random_array(*kernel, seed=1)
    body = f"y = Conv {attributes(how)} (x, w)"
    compiled = compile_in_memory(network(body, {"x": data}, 4, w=weight), host(cpu))
    took(compiled, "contraction")
    close(compiled.run(data), convolve(data, weight, **how))


@pytest.mark.parametrize(
    ("kernel", "strides", "pads"),
    [
        ((2, 2), (2, 2), (0, 0, 0, 0)),
        ((3, 3), (2, 2), (1, 1, 1, 1)),
        ((4, 4), (2, 2), (1, 1, 1, 1)),
        ((3, 2), (1, 3), (0, 0, 1, 0)),
    ],
)
def test_transposed_convolution(kernel: Any, strides: Any, pads: Any) -> None:
    data, weight = random_array(2, 9, 5, 7), random_array(9, 6, *kernel, seed=1)
    # A convolution in front, so that the graph is in the layout of convolutions.
    mix = random_array(9, 9, 1, 1, seed=2)
    how = attributes({"strides": strides, "pads": pads})
    body = f"m = Conv (x, u) y = ConvTranspose {how} (m, w)"
    compiled = compile_in_memory(network(body, {"x": data}, 4, u=mix, w=weight))
    took(compiled, "contraction")
    close(compiled.run(data), transposed(convolve(data, mix), weight, pads, strides), 5e-6)


OPERATORS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], str]] = {
    "matmul": ("r = MatMul (x, w)", (21, 24), (24, 37), "contraction"),
    "vector times matrix": ("r = MatMul (x, w)", (1, 200), (200, 300), "contraction"),
    "conv1x1": ("r = Conv (x, w)", (1, 16, 9, 7), (20, 16, 1, 1), "contraction"),
    "conv5x5": ("r = Conv <pads=[2,2,2,2]> (x, w)", (1, 4, 9, 11), (24, 4, 5, 5), "contraction"),
    "grouped": ("r = Conv <group=2> (x, w)", (1, 8, 9, 11), (32, 4, 3, 3), "contraction"),
}


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("name", OPERATORS)
def test_epilogue(name: str, epilogue: str) -> None:
    body, shape, kernel, rule = OPERATORS[name]
    text, function = EPILOGUES[epilogue]
    data, weight = random_array(*shape), random_array(*kernel, seed=1, scale=0.1)
    if "Conv" in body:
        size = 2 if "pads" in body else 0
        group = 2 if "group" in body else 1
        expected = convolve(data, weight, (size, size, size, size), group=group)
        bias = random_array(1, expected.shape[1], 1, 1, seed=2)
    else:
        expected = data.astype(np.float64) @ weight
        bias = random_array(expected.shape[-1], seed=2)
    other = random_array(*expected.shape, seed=3)
    model = network(f"{body} {text}", {"x": data, "o": other}, expected.ndim, w=weight, b=bias)
    compiled = compile_in_memory(model)
    took(compiled, rule)
    half = epilogue == "cast"
    close(compiled.run(data, other), function(expected, other, bias), 6e-4 if half else 2e-6)


@pytest.mark.parametrize(
    ("shape", "body", "weight", "sizes"),
    [
        ("M,24", "y = MatMul (x, w)", (24, 33), [(1, 24), (8, 24), (23, 24)]),
        ("B,S,24", "y = MatMul (x, w)", (24, 33), [(1, 1, 24), (3, 5, 24)]),
        ("B,6,9,11", "y = Conv (x, w)", (12, 6, 1, 1), [(1, 6, 9, 11), (3, 6, 9, 11)]),
        ("B,6,9,11", "y = Conv <pads=[1,1,1,1]> (x, w)", (12, 6, 3, 3), [(2, 6, 9, 11)]),
        ("1,6,H,11", "y = Conv <pads=[2,2,2,2]> (x, w)", (12, 6, 5, 5), [(1, 6, 1, 11)]),
    ],
)
def test_symbolic_sizes(
    shape: str, body: str, weight: tuple[int, ...], sizes: list[tuple[int, ...]]
) -> None:
    values = random_array(*weight, seed=1)
    letters = ",".join("abcd"[: len(sizes[0])])
    text = f"g (float[{shape}] x) => (float[{letters}] y) {{ {body} }}"
    compiled = compile_in_memory(model_from_text(text, {"w": values}))
    took(compiled, "contraction")
    for size in sizes:
        data = random_array(*size)
        if "Conv" not in body:
            expected = data.astype(np.float64) @ values
        else:
            size = weight[-1] // 2
            expected = convolve(data, values, (size, size, size, size))
        close(compiled.run(data), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows", "panels", "batches", "convolution"])
def test_the_same_bits_for_any_number_of_threads(name: str, tmp_path: Path) -> None:
    body, shape, weight = {
        "rows": ("y = MatMul (x, w)", (517, 64), (64, 48)),
        "panels": ("y = MatMul (x, w)", (3, 700), (700, 900)),
        "batches": ("t = Transpose <perm=[0,2,1]> (x) y = MatMul (x, t)", (5, 60, 70), (1,)),
        "convolution": ("y = Conv <pads=[2,2,2,2]> (x, w)", (1, 8, 41, 37), (40, 8, 5, 5)),
    }[name]
    data = random_array(*shape)
    model = network(body, {"x": data}, len(shape), w=random_array(*weight, seed=1))
    bundle = compile(model, "host", tmp_path / "bundle", threads=3).directory
    first, *others = [open_bundle(bundle, threads=n).run({"x": data})["y"] for n in (1, 2, 3)]
    for other in others:
        np.testing.assert_array_equal(first, other)


def shortcut() -> Any:
    """A residual network's projection, whose indices TVM's `FlattenBuffer` divides by zero."""
    inputs = {"x": random_array(1, 128, 28, 28), "o": random_array(1, 256, 14, 14, seed=3)}
    weights = {"w": random_array(256, 128, 1, 1, seed=1), "b": random_array(256, seed=2)}
    body = "c = Conv <strides=[2,2]> (x, w, b) s = Add (o, c) y = Relu (s)"
    return network(body, inputs, 4, **weights)


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 8])
def test_a_strided_shortcut_compiles_for_any_number_of_threads(threads: int) -> None:
    took(
        compile_in_memory(shortcut(), resolve_target("android-arm64", threads=threads)),
        "contraction",
    )
