"""Keep weights of float16 in the memory of a network that computes in float32.

ONNX says it as Cast(constant of float16) -> MatMul or Conv. Importing and folding make float32
constants of that, through transposes and layouts. Afterwards a weight whose values are all halves
is stored as halves again, exactly, and the kernel converts them in registers (`vcvtph2ps`,
`fcvtl`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import constant_array, operator_of

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from tvm import IRModule

#: Smaller weights stay as they are.
_LEAST_ELEMENTS = 1024


def widens_half_weights(graph: onnx.GraphProto) -> bool:
    """Whether `graph` casts constants of float16 to float32."""
    from onnx import TensorProto

    halves = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT16}
    for value in graph.input:
        # A detached weight; a real input of float16 would do no harm.
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            halves.add(value.name)
    return any(
        node.op_type == "Cast"
        and node.input[0] in halves
        and any(a.name == "to" and a.i == TensorProto.FLOAT for a in node.attribute)
        for node in graph.node
    )


def store_half_weights(module: IRModule) -> IRModule:
    """Return the module whose products in ``main`` have constants of float16 where that is exact.

    Depthwise convolutions keep their few weights.
    """
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    @mutator
    class Narrow(PyExprMutator):
        """Replaces the weight of a product, and says that the result is float32 nevertheless."""

        def visit_call_(self, op: Any) -> Any:
            call: Any = self.visit_expr_post_order(op)
            name = operator_of(call)
            if name not in ("relax.matmul", "relax.nn.conv2d") or str(op.ty.dtype) != "float32":
                return call
            weight = constant_array(call.args[1])
            half = None if weight is None else _as_halves(weight)
            if half is None:
                return call
            data, narrow = call.args[0], relax.const(half)
            if name == "relax.matmul":
                return relax.op.matmul(data, narrow, out_dtype="float32")
            attrs = call.attrs
            if int(attrs.groups) > 1 and int(attrs.groups) == half.shape[0]:
                return call
            return relax.op.nn.conv2d(
                data,
                narrow,
                strides=attrs.strides,
                padding=attrs.padding,
                dilation=attrs.dilation,
                groups=attrs.groups,
                data_layout=attrs.data_layout,
                kernel_layout=attrs.kernel_layout,
                out_layout=attrs.out_layout,
                out_dtype="float32",
            )

    narrow: Any = Narrow(module)
    module.update_func(module.get_global_var("main"), narrow.visit_expr(module["main"]))
    return module


def _as_halves(weight: np.ndarray) -> np.ndarray | None:
    """The weight in float16; None where that is not the same."""
    import numpy as np

    if weight.dtype != np.float32 or weight.size < _LEAST_ELEMENTS:
        return None
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), weight) else None
