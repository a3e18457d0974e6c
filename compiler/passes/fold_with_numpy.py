"""Evaluate operators on constants with numpy.

TVM's `FoldConstant` compiles a kernel with LLVM for each operator that it evaluates, 35 ms apiece:
a network with 53 biases and 18 clips waits 2.5 s for scalars and reshapes. What is left over here
is left to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

Evaluation = Callable[[Any, "list[np.ndarray]"], "np.ndarray | None"]


def fold_with_numpy(module: IRModule) -> IRModule:
    """Return the module with the operators of ``main`` in the table below folded.

    Exact: numpy and TVM round single operations alike (IEEE 754), and integer division, where they
    differ, is not in the table.
    """
    from tvm import ir, relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    table = _evaluations()

    @mutator
    class Fold(PyExprMutator):
        """Replaces calls on constants by their values."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            evaluate = table.get(getattr(call.op, "name", ""))
            if evaluate is None:
                return call
            operands = [self._value(arg) for arg in call.args]
            arrays = [operand for operand in operands if operand is not None]
            shapes = [arg for arg in call.args if isinstance(arg, relax.ShapeExpr)]
            if len(arrays) + len(shapes) < len(operands):
                return call
            value = evaluate(call, arrays)
            # Without its type a constant of int64 would become one of int32.
            return call if value is None else relax.const(value, str(value.dtype))

        def _value(self, arg: Any) -> np.ndarray | None:
            if isinstance(arg, relax.Var):
                arg = self.lookup_binding(arg)
            constant: Any = arg
            return constant.value.numpy() if isinstance(arg, ir.GenericConst) else None

    folder: Any = Fold(module)
    module.update_func(module.get_global_var("main"), folder.visit_expr(module["main"]))
    return module


def _evaluations() -> dict[str, Evaluation]:
    """Return for each operator what computes its value; ``None`` as the value leaves it alone."""
    import numpy as np

    def exact(function: Callable[..., Any], *kinds: type) -> Evaluation:
        def evaluate(_call: Any, arrays: list[np.ndarray]) -> np.ndarray | None:
            if not all(array.dtype in kinds for array in arrays):
                return None
            return np.asarray(function(*arrays))

        return evaluate

    def floats(function: Callable[..., Any]) -> Evaluation:
        return exact(function, np.float32, np.float64)

    def numbers(function: Callable[..., Any]) -> Evaluation:
        return exact(function, np.float32, np.float64, np.int32, np.int64)

    return {
        "relax.add": numbers(np.add),
        "relax.subtract": numbers(np.subtract),
        "relax.multiply": numbers(np.multiply),
        "relax.divide": floats(np.divide),
        "relax.astype": _widen,
        "relax.sqrt": floats(np.sqrt),
        "relax.isnan": floats(np.isnan),
        "relax.where": lambda _, arrays: np.where(*arrays),
        "relax.reshape": _reshape,
        "relax.permute_dims": _permute,
        "relax.expand_dims": lambda call, arrays: np.expand_dims(
            arrays[0], tuple(int(axis) for axis in call.attrs.axis)
        ),
    }


def _widen(call: Any, arrays: list[np.ndarray]) -> np.ndarray | None:
    """Integers as wider ones: what TVM's folding leaves alone where they are scalars."""
    import numpy as np

    dtype = str(call.attrs.dtype)
    if arrays[0].dtype.kind not in "iu" or not dtype.startswith(("int", "uint")):
        return None
    return arrays[0].astype(dtype) if np.can_cast(arrays[0].dtype, dtype) else None


def _reshape(call: Any, arrays: list[np.ndarray]) -> np.ndarray | None:
    from tvm import tirx

    dims = list(call.args[1].values)
    if not all(isinstance(dim, tirx.IntImm) for dim in dims):
        return None
    return arrays[0].reshape([int(dim) for dim in dims])


def _permute(call: Any, arrays: list[np.ndarray]) -> np.ndarray:
    axes = call.attrs["axes"]
    return arrays[0].transpose(None if axes is None else [int(axis) for axis in axes])
