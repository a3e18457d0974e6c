"""Products of small integers, as ONNX MatMulInteger becomes: weights of a byte, exact in int32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import (
    Dataflow,
    Visit,
    constant_array,
    replace_calls,
)
from autoglm_tvm.compiler.passes.integer_operands import (
    ByteOperand,
    add_offset,
    bias_behind,
    byte_operand,
    dot_tile,
    known_terms,
    less_computed,
    narrow,
    sign_moved,
    takes_bytes,
)
from autoglm_tvm.compiler.passes.packing import emit, product, tensor_type
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct, dot_product_for
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.dot_matmul import dot_matmul, pack_words
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.schedules.operators.pair_matmul import pair_matmul
from autoglm_tvm.schedules.tiles import tuned_tile
from autoglm_tvm.schedules.workload import matmul_workload

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule


@dataclass(frozen=True)
class IntegerProduct:
    """A matrix product that fits bytes.

    Attributes
    ----------
    left
        The left operand.
    weight, offset
        B [K, N], and ob [N] as int32.
    bias
        int32 [N] that is added behind; None for nothing.
    instruction
        What multiplies them; None for plain multiplications.
    """

    left: ByteOperand
    weight: np.ndarray
    offset: np.ndarray
    bias: np.ndarray | None
    instruction: DotProduct | None


def pack_integer_matmul(module: IRModule, machine: Machine, choices: Choices) -> IRModule:
    """Return the module with the kernel in place of each such product of ``main``."""

    def emit_product(builder: Any, match: IntegerProduct, visit: Visit) -> Any:
        mapped = replace(match, left=match.left.mapped(visit))
        return emit_integer_product(builder, mapped, machine, choices)

    graph = Dataflow(module["main"])
    matches = [_match(variable, graph, machine) for variable in graph.variables]
    return replace_calls(module, matches, emit_product)


def _match(variable: Any, graph: Dataflow, machine: Machine) -> tuple[Any, IntegerProduct] | None:
    """What is to be replaced, and the product that it is."""
    call = graph.call(variable, "relax.matmul")
    if call is None or str(call.ty.dtype) != "int32" or graph.definition(variable) is not call:
        return None
    left, right = call.args
    weight = constant_array(graph.definition(right))
    if weight is None or weight.ndim != 2 or 0 in weight.shape or len(left.ty.shape) < 2:
        return None
    operand = byte_operand(left, graph)
    if operand is None or 0 in [constant(extent) for extent in left.ty.shape]:
        return None
    narrowed = narrow(weight)
    if narrowed is None:
        return None
    rows = product(list(left.ty.shape)[:-1])
    lowest, columns = int(narrowed[0].min()), weight.shape[1]
    instruction = dot_product_for(machine, operand.dtype, lowest, rows, columns)
    replaced, bias = bias_behind(variable, graph)
    return replaced, IntegerProduct(operand, *narrowed, bias, instruction)


def emit_integer_product(
    builder: Any, match: IntegerProduct, machine: Machine, choices: Choices
) -> Any:
    """The kernel, and what is added to its sums."""
    from tvm import relax

    left, instruction = match.left, match.instruction
    if takes_bytes(instruction):
        data, zero_point = left.moved_data(builder), left.zero_point
    else:
        data, zero_point = builder.emit(relax.op.astype(left.value, "int16")), None
    moved = sign_moved(left.dtype, instruction)
    added = known_terms(match.weight, zero_point, moved, match.bias)
    sums = _multiply(builder, data, added, match, machine, choices)
    sums = less_computed(builder, sums, match.weight, zero_point, moved)
    if match.offset.any():
        rows = builder.emit(relax.op.sum(left.value, axis=-1, keepdims=True))
        sums = add_offset(builder, sums, rows, match.offset)
    return sums


def _multiply(
    builder: Any,
    data: Any,
    added: np.ndarray,
    match: IntegerProduct,
    machine: Machine,
    choices: Choices,
) -> Any:
    """`data` times the weight plus `added` in a kernel, K filled up to whole words."""
    from tvm import relax

    weight, instruction = match.weight, match.instruction
    *leading, _ = data.ty.shape
    reduced, columns = weight.shape
    group = instruction.group if instruction else 1
    groups = -(-reduced // group)
    if groups * group != reduced:
        width = [0, 0] * len(leading) + [0, groups * group - reduced]
        data = builder.emit(relax.op.nn.pad(data, width))
    operands = (data, relax.const(added))
    types = tuple(tensor_type(operand) for operand in operands)
    rows, dtypes = product(leading), (types[0][1], instruction.name if instruction else "int8")
    workload = matmul_workload(dtypes, rows, groups * group, columns)

    def lower(config: Config) -> Lowering:
        pair = 2 if instruction is not None and instruction.in_pairs else 1
        tile = dot_tile(rows, columns, groups, instruction, machine)
        tile = tuned_tile(tile, config, pair=pair)
        if instruction is None:
            packed = pack_panels(weight, tile.columns)
        else:
            packed = pack_words(weight, tile.columns, instruction)

        def body(a: Any, bias: Any, b: Any) -> Any:
            if instruction is not None and instruction.in_pairs:
                return pair_matmul(a, b, columns, tile, instruction, workload, bias)
            return dot_matmul(a, b, columns, tile, instruction, workload, bias)

        return Lowering(body, packed)

    lowering = choices.lower(workload, Anchor(lower, types))
    return emit(builder, lowering, operands, "integer_matmul")
