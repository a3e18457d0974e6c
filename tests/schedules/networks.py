"""Small networks against ONNX Runtime, scheduled for one thread and for many."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx

from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import compile_in_memory


def network(
    declaration: str,
    body: str,
    output: str,
    weights: dict[str, Any] | None = None,
    opset: int = 18,
) -> onnx.ModelProto:
    """Input declarations, nodes that end in `y`, its type, and weights.

    A weight is a shape (a tuple), a float32 (a float), a list of integers, or an array.
    """
    arrays = {name: _array(name, value) for name, value in (weights or {}).items()}
    return model_from_text(f"g ({declaration}) => ({output} y) {{ {body} }}", arrays, opset)


def _array(name: str, value: Any) -> np.ndarray:
    if isinstance(value, tuple):
        return random_array(*value, seed=len(name))
    return np.asarray(np.float32(value) if isinstance(value, float) else np.array(value))


def check(model: onnx.ModelProto, *, tolerance: float = 2e-6) -> tuple[str, ...]:
    """Compare with ONNX Runtime; the bits must not depend on the threads. Returns the rules."""
    inputs = random_inputs(model)
    expected = run_reference(model, inputs)["y"]
    results = []
    for threads in (1, 8):
        compiled = compile_in_memory(model, replace(resolve_target("host"), threads=threads))
        results.append(compiled.run(*inputs.values()))
    first, second = results
    assert first.shape == expected.shape
    np.testing.assert_array_equal(first, second)
    if expected.dtype.kind == "f" and expected.size:
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-3)
        np.testing.assert_allclose(first, expected, rtol=tolerance, atol=tolerance * float(scale))
    else:
        np.testing.assert_array_equal(first, expected)
    return compiled.rules


def random_inputs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Normal floats, small integers, fair booleans."""
    rng = np.random.default_rng(0)
    inputs = {}
    for value in model.graph.input:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        shape = [dim.dim_value for dim in tensor.shape.dim]
        if dtype == np.bool_:
            inputs[value.name] = rng.random(shape) > 0.5
        elif dtype.kind == "f":
            inputs[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            inputs[value.name] = rng.integers(0, 7, shape).astype(dtype)
    return inputs
