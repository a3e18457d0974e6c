"""Turn the constants of ``main`` into parameters behind the inputs, so that they lie apart."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

# Smaller constants stay in the library: each parameter costs an argument in every call.
_MIN_BYTES = 64


def _digest(array: np.ndarray) -> bytes:
    import numpy as np

    # As a view: a copy of the largest weight may not fit into memory again.
    return hashlib.sha256(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data).digest()


def lift_weights(module: IRModule) -> tuple[IRModule, list[tuple[str, np.ndarray]]]:
    """Return the module without large constants, and the constants in calling order.

    Constants with equal bytes, dtype and shape become one parameter. The arrays share memory with
    TVM's constants and must not be written to.
    """
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Lift(PyExprMutator):
        """Replaces each large constant by a variable."""

        def __init__(self, mod: IRModule) -> None:
            super().__init__(mod)
            self.variables: dict[tuple[Any, ...], Any] = {}
            self.arrays: list[tuple[str, np.ndarray]] = []

        def visit_generic_const_(self, op: Any) -> Any:
            array = op.value.numpy()
            if array.nbytes < _MIN_BYTES:
                return op
            key = (str(op.value.dtype), array.shape, _digest(array))
            if key not in self.variables:
                name = f"weight_{len(self.arrays)}"
                self.variables[key] = relax.Var(name, op.ty)
                self.arrays.append((name, array))
            return self.variables[key]

    lift = Lift(module)
    main = module["main"]
    body = lift.visit_expr(main.body)
    lifted = relax.Function(
        [*main.params, *lift.variables.values()],
        body,
        main.ret_ty,
        main.is_pure,
        main.attrs,
    )
    module.update_func(module.get_global_var("main"), lifted)
    return relax.transform.Normalize()(module), lift.arrays
