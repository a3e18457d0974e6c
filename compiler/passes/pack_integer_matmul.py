"""Products of small integers, as ONNX MatMulInteger becomes: weights of a byte, exact in int32.

    X = A - za                      A: uint8 or int8, za: scalar or one for each row
    W = B + ob                      W: constant, B: int8, ob: one for each column, 0 if W fits
    X W = (A + s) B  -  (za + s) colsum(B)  +  rowsum(X) ob

s is 128 or -128 where the machine's instruction wants the other sign of A. The column sums are
constants; what is added for them joins the product's kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_array
from autoglm_tvm.compiler.passes.packing import emit, product, tensor_type
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct, dot_product_for
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.dot_matmul import dot_matmul, pack_words
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.schedules.operators.pair_matmul import pair_matmul
from autoglm_tvm.schedules.tiles import Tile, choose_tile, tuned_tile
from autoglm_tvm.schedules.workload import matmul_workload

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

_BYTES = ("uint8", "int8")
# What is added to a byte to make it one of the other sign.
_OTHER_SIGN = {"uint8": -128, "int8": 128}
_LARGEST_BYTE = 255
_LARGEST_SUM = (1 << 31) - 1


@dataclass(frozen=True)
class _Product:
    """A matrix product that fits bytes.

    Attributes
    ----------
    left
        The int32 operand X.
    data, zero_point
        A, and za as int32 (None for 0).
    weight, offset
        B [K, N], and ob [N] as int32.
    instruction
        What multiplies them; None for plain multiplications.
    """

    left: Any
    data: Any
    zero_point: Any
    weight: np.ndarray
    offset: np.ndarray
    instruction: DotProduct | None


def pack_integer_matmul(module: IRModule, machine: Machine, choices: Choices) -> IRModule:
    """Return the module with the kernel in place of each such product of ``main``."""
    from tvm.relax.expr_functor import PyExprMutator, mutator

    main = module["main"]
    graph = Dataflow(main)
    products = ((graph.definition(variable), variable) for variable in graph.variables)
    matches = {call: _match(variable, graph, machine) for call, variable in products}
    found = {call: match for call, match in matches.items() if match is not None}
    if not found:
        return module

    @mutator
    class Pack(PyExprMutator):
        """Replaces the product; what made int32 of its operands is dead code then."""

        def visit_call_(self, op: Any) -> Any:
            match = found.get(op)
            if match is None:
                return self.visit_expr_post_order(op)
            zero_point = match.zero_point
            mapped = replace(
                match,
                left=self.visit_expr(match.left),
                data=self.visit_expr(match.data),
                zero_point=None if zero_point is None else self.visit_expr(zero_point),
            )
            return _emit(self.builder_, mapped, machine, choices)

    pack: Any = Pack(module)
    pack.builder_.update_func(module.get_global_var("main"), pack.visit_expr(main))
    return pack.builder_.get()


def _match(variable: Any, graph: Dataflow, machine: Machine) -> _Product | None:
    call = graph.call(variable, "relax.matmul")
    if call is None or str(call.ty.dtype) != "int32":
        return None
    left, right = call.args
    weight = constant_array(graph.definition(right))
    if weight is None or weight.ndim != 2 or 0 in weight.shape or len(left.ty.shape) < 2:
        return None
    data, zero_point = _bytes(left, graph)
    if data is None or 0 in [constant(extent) for extent in left.ty.shape]:
        return None
    narrow = _narrow(weight)
    if narrow is None:
        return None
    rows = product(list(left.ty.shape)[:-1])
    instruction = dot_product_for(machine, str(data.ty.dtype), int(narrow[0].min()), rows)
    return _Product(left, data, zero_point, *narrow, instruction)


def _bytes(left: Any, graph: Dataflow) -> tuple[Any, Any]:
    """A and za of an int32 tensor; A is None where it is nothing of that kind."""
    zero_point = None
    difference = graph.call(left, "relax.subtract")
    if difference is not None:
        left, zero_point = difference.args
        if not _is_zero_point(zero_point, len(left.ty.shape), graph):
            return None, None
    conversion = graph.call(left, "relax.astype")
    if conversion is None or not _is_bytes(conversion.args[0]):
        return None, None
    return conversion.args[0], zero_point


def _is_zero_point(value: Any, rank: int, graph: Dataflow) -> bool:
    """Whether it is a byte for the whole operand, or one for each row."""
    extents = [constant(extent) for extent in value.ty.shape]
    if len(extents) > rank or (extents and extents[-1] != 1):
        return False
    known = constant_array(graph.definition(value))
    if known is not None:
        # One for each row, times the columns' sums, is a constant as large as the result.
        return known.size == 1 and abs(int(known.item())) <= _LARGEST_BYTE
    conversion = graph.call(value, "relax.astype")
    return conversion is not None and _is_bytes(conversion.args[0])


def _is_bytes(value: Any) -> bool:
    return str(value.ty.dtype) in _BYTES


def _narrow(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Int8 and an offset for each column; None where a column does not fit into a byte.

    Refused too if a partial sum could leave int32, where TVM promises nothing.
    """
    import numpy as np

    low, high = weight.min(axis=0).astype(np.int64), weight.max(axis=0).astype(np.int64)
    if (high - low > _LARGEST_BYTE).any():
        return None
    offset = np.where((low >= -128) & (high <= 127), 0, low + 128)
    narrow = weight - offset
    largest = 4 * _LARGEST_BYTE * (np.abs(narrow).sum(axis=0) + np.abs(offset) * len(weight))
    if (largest > _LARGEST_SUM).any():
        return None
    return narrow.astype(np.int8), offset.astype(np.int32)


def _emit(builder: Any, match: _Product, machine: Machine, choices: Choices) -> Any:
    """The kernel, and what is added to its sums."""
    from tvm import relax

    op = relax.op
    dtype = str(match.data.ty.dtype)
    instruction = match.instruction
    data, before = match.data, None
    if instruction is None or instruction.left == "int16":
        data = builder.emit(op.astype(match.left, "int16"))
    else:
        moved = _OTHER_SIGN[dtype] if instruction.left != dtype else 0
        before = _column_term(builder, match, moved)
    sums = _multiply(builder, data, match, machine, choices)
    if before is not None:
        sums = op.subtract(builder.emit(sums), before)
    if match.offset.any():
        sums = builder.emit(sums)
        rows = builder.emit(op.sum(match.left, axis=-1, keepdims=True))
        term = builder.emit(op.multiply(rows, relax.const(match.offset)))
        sums = op.add(sums, term)
    return sums


def _column_term(builder: Any, match: _Product, moved: int) -> Any:
    """(za + s) colsum(B); None where it is zero."""
    import numpy as np
    from tvm import relax

    op = relax.op
    total = match.weight.sum(axis=0, dtype=np.int32)
    if match.zero_point is None:
        return relax.const(moved * total) if moved else None
    known = constant_array(match.zero_point)
    if known is not None:
        term = (known + np.int32(moved)) * total
        return relax.const(term) if term.any() else None
    zero_point = match.zero_point
    if moved:
        zero_point = builder.emit(op.add(zero_point, relax.const(moved, "int32")))
    return builder.emit(op.multiply(zero_point, relax.const(total)))


def _multiply(builder: Any, data: Any, match: _Product, machine: Machine, choices: Choices) -> Any:
    """`data` times the weight in a kernel of its own, K filled up to whole words."""
    from tvm import relax

    weight, instruction = match.weight, match.instruction
    *leading, _ = data.ty.shape
    reduced, columns = weight.shape
    group = instruction.group if instruction else 1
    groups = -(-reduced // group)
    if groups * group != reduced:
        width = [0, 0] * len(leading) + [0, groups * group - reduced]
        data = builder.emit(relax.op.nn.pad(data, width))
    rows, operand = product(leading), tensor_type(data)
    dtypes = (operand[1], instruction.name if instruction else "int8")
    workload = matmul_workload(dtypes, rows, groups * group, columns)

    def lower(config: Config) -> Lowering:
        tile = tuned_tile(_tile(rows, columns, groups, instruction, machine), config)
        if instruction is None:
            packed = pack_panels(weight, tile.columns)
        else:
            packed = pack_words(weight, tile.columns, instruction)

        def body(a: Any, b: Any) -> Any:
            if instruction is not None and instruction.in_pairs:
                return pair_matmul(a, b, columns, tile, instruction, workload)
            return dot_matmul(a, b, columns, tile, instruction, workload)

        return Lowering(body, packed)

    lowering = choices.lower(workload, Anchor(lower, (operand,)))
    return emit(builder, lowering, (data,), "integer_matmul")


def _tile(
    rows: int | None, columns: int, groups: int, instruction: DotProduct | None, machine: Machine
) -> Tile:
    if instruction is None:
        return choose_tile(rows, columns, groups, machine, "int32")
    spare = machine.vector_registers - instruction.registers
    machine = replace(machine, vector_registers=spare)
    if instruction.in_pairs:
        pairs = None if rows is None else -(-rows // 2)
        return choose_tile(pairs, 2 * columns, groups, machine, "int32", paired=True)
    return choose_tile(rows, columns, groups, machine, "int32")
