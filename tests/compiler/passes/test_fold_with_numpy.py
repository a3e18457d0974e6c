"""Folding on the spot gives what TVM's own folding gives, bit by bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.passes.fold_with_numpy import fold_with_numpy
from tests.compiler.onnx_text import random_array

LEFT = random_array(3, 5)
RIGHT = random_array(5, seed=1) + np.float32(3)
ODD = np.array([np.nan, np.inf, -0.0, 1e-42, 2.5], np.float32)

LONG = np.array([[1 << 40, -1], [2, 3]])

# Their differences do not fit: both wrap around.
LARGE = np.array([-(1 << 31), 7, (1 << 31) - 1], np.int32)


def module_of(build: Callable[[Any, Any], Any], *arrays: np.ndarray) -> Any:
    from tvm import relax

    builder = relax.BlockBuilder()
    with builder.function("main", []):
        with builder.dataflow():
            constants = [relax.const(array, str(array.dtype)) for array in arrays]
            result = builder.emit_output(builder.emit(build(relax.op, constants)))
        builder.emit_func_output(result)
    return builder.get()


def constant_in(module: Any) -> np.ndarray | None:
    from tvm import ir, relax

    value: Any = relax.transform.CanonicalizeBindings()(module)["main"].body
    values: dict[Any, Any] = {
        binding.var: binding.value for block in value.blocks for binding in block.bindings
    }
    constant: Any = values.get(value.body, value.body)
    return constant.value.numpy() if ir.GenericConst in type(constant).mro() else None


CASES: dict[str, tuple[Callable[[Any, Any], Any], tuple[np.ndarray, ...]]] = {
    "add": (lambda op, c: op.add(c[0], c[1]), (LEFT, RIGHT)),
    "subtract": (lambda op, c: op.subtract(c[0], c[1]), (LEFT, RIGHT)),
    "multiply": (lambda op, c: op.multiply(c[0], c[1]), (LEFT, RIGHT)),
    "divide": (lambda op, c: op.divide(c[0], c[1]), (LEFT, RIGHT)),
    "sqrt": (lambda op, c: op.sqrt(c[0]), (np.abs(LEFT),)),
    "isnan": (lambda op, c: op.isnan(c[0]), (ODD,)),
    "where": (lambda op, c: op.where(op.isnan(c[0]), c[1], c[0]), (ODD, RIGHT)),
    "reshape": (lambda op, c: op.reshape(c[0], (1, 5, 3)), (LEFT,)),
    "transpose": (lambda op, c: op.permute_dims(c[0], [1, 0]), (LEFT,)),
    "long integers": (lambda op, c: op.permute_dims(c[0], [1, 0]), (LONG,)),
    "integers": (lambda op, c: op.subtract(c[0], c[1]), (LARGE, LARGE[::-1].copy())),
    "wider": (lambda op, c: op.astype(c[0], "int32"), (np.arange(-9, 9, dtype=np.int8),)),
    "nested": (lambda op, c: op.add(op.multiply(c[0], c[1]), c[1]), (LEFT, RIGHT)),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_as_tvm(name: str) -> None:
    from tvm import relax

    build, arrays = CASES[name]
    folded = constant_in(fold_with_numpy(module_of(build, *arrays)))
    expected = constant_in(relax.transform.FoldConstant()(module_of(build, *arrays)))
    assert folded is not None
    assert expected is not None
    assert folded.dtype == expected.dtype
    assert folded.shape == expected.shape
    assert folded.tobytes() == expected.tobytes()


def test_a_scalar_of_a_byte_becomes_wider() -> None:
    """TVM's folding leaves it."""
    module = module_of(lambda op, c: op.astype(c[0], "int32"), np.array(-7, np.int8))
    folded = constant_in(fold_with_numpy(module))
    assert folded is not None
    assert (folded.dtype, folded.shape, int(folded)) == (np.int32, (), -7)


def test_conversions_that_lose_something_are_left_to_tvm() -> None:
    for dtype, to in (("float32", "int32"), ("int32", "int8"), ("int8", "uint8")):
        module = module_of(lambda op, c, to=to: op.astype(c[0], to), np.ones(3, dtype))
        assert "R.astype" in fold_with_numpy(module).script()


def test_quotients_of_integers_are_left_to_tvm() -> None:
    module = module_of(lambda op, c: op.divide(c[0], c[1]), np.array([-7]), np.array([2]))
    assert "R.divide" in fold_with_numpy(module).script()


def test_what_depends_on_an_input_stays() -> None:
    from tvm import relax

    builder = relax.BlockBuilder()
    dims: Any = (5,)
    x = relax.Var("x", relax.TensorType(dims, "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(relax.op.add(x, relax.const(RIGHT))))
        builder.emit_func_output(result)
    assert "R.add" in fold_with_numpy(builder.get()).script()
