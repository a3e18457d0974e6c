"""Which rule takes which operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.integer.bench import Bench
from autoglm_tvm.compiler.integer.clipping import clipping
from autoglm_tvm.compiler.integer.concatenation import concatenation
from autoglm_tvm.compiler.integer.convolution import convolution
from autoglm_tvm.compiler.integer.matrix_product import general_product, matrix_product
from autoglm_tvm.compiler.integer.movement import MOVEMENTS, movement
from autoglm_tvm.compiler.integer.pooling import average_pool, global_average, reduce_mean
from autoglm_tvm.compiler.integer.products import Taken
from autoglm_tvm.compiler.integer.refusal import Refusal
from autoglm_tvm.compiler.integer.sums import scaled_product, weighted_sum

if TYPE_CHECKING:
    import onnx

#: A rule makes the integer form of a node and returns the nodes that this stands for, or says why
#: it cannot. It is asked in the order of execution, and makes nothing where it refuses.
Rule = Callable[[Bench, "onnx.NodeProto", str], Taken | Refusal]

RULES: dict[str, Rule] = {
    "Conv": convolution,
    "MatMul": matrix_product,
    "Gemm": general_product,
    "Add": weighted_sum,
    "Sub": weighted_sum,
    "Mul": scaled_product,
    "Div": scaled_product,
    "Concat": concatenation,
    "Relu": clipping,
    "Clip": clipping,
    "AveragePool": average_pool,
    "GlobalAveragePool": global_average,
    "ReduceMean": reduce_mean,
    **dict.fromkeys(MOVEMENTS, movement),
}
