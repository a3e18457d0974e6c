"""What integer products and convolutions share: operands that fit bytes, and what the rest adds.

    X = A - za                      A: uint8 or int8, za: scalar or one for each row
    W = B + ob                      W: constant, B: int8, ob: one for each column, 0 if W fits
    X W = (A + s) B  -  (za + s) colsum(B)  +  rowsum(X) ob

s is 128 or -128 where the machine's instruction wants the other sign of A. The column sums are
constants; what is added for them, and a bias behind, joins the product's kernel.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_array
from autoglm_tvm.schedules.intrinsics.byte_sign import moved_by
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.tiles import Tile, choose_tile

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

_BYTES = ("uint8", "int8")
LARGEST_BYTE = 255
_LARGEST_SUM = (1 << 31) - 1
# Operators that move elements and change none.
_MOVES = ("relax.permute_dims", "relax.expand_dims", "relax.squeeze", "relax.reshape")


@dataclass(frozen=True)
class ByteOperand:
    """An int32 tensor that is bytes, less their zero point.

    Attributes
    ----------
    value
        The int32 tensor X.
    data
        A.
    zero_point
        za as int32; None for 0.
    moves
        Calls between A and X, the first to be done first, that move elements only.
    """

    value: Any
    data: Any
    zero_point: Any
    moves: tuple[Any, ...] = ()

    @property
    def dtype(self) -> str:
        """Of A."""
        return str(self.data.ty.dtype)

    def mapped(self, visit: Callable[[Any], Any]) -> ByteOperand:
        """The same of an expression that is being rewritten."""
        zero_point = None if self.zero_point is None else visit(self.zero_point)
        return replace(self, value=visit(self.value), data=visit(self.data), zero_point=zero_point)

    def moved_data(self, builder: Any) -> Any:
        """A in the place of X."""
        from tvm import relax

        data = self.data
        for call in self.moves:
            moved = relax.Call(call.op, [data, *call.args[1:]], call.attrs, call.ty_args)
            data = builder.emit(moved)
        return data


def byte_operand(value: Any, graph: Dataflow) -> ByteOperand | None:
    """`value` as bytes; None where it is nothing of that kind."""
    source, moves, zero_point = value, [], None
    while True:
        definition = graph.definition(source)
        name = getattr(getattr(definition, "op", None), "name", "")
        if name in _MOVES:
            moves.append(definition)
            source = definition.args[0]
        elif name == "relax.subtract" and zero_point is None:
            source, zero_point = definition.args
            # A vector of zero points would have to be moved along.
            if not is_zero_point(zero_point, source, graph, one=bool(moves)):
                return None
        else:
            break
    conversion = graph.call(source, "relax.astype")
    if conversion is None or not _is_bytes(conversion.args[0]):
        return None
    return ByteOperand(value, conversion.args[0], zero_point, tuple(reversed(moves)))


def is_zero_point(value: Any, of: Any, graph: Dataflow, *, one: bool) -> bool:
    """Whether it is a byte for all of `of`, or, unless `one` is wanted, one for each row."""
    extents = [constant(extent) for extent in value.ty.shape]
    if len(extents) > len(of.ty.shape) or (extents and extents[-1] != 1):
        return False
    if one and any(extent != 1 for extent in extents):
        return False
    known = constant_array(graph.definition(value))
    if known is not None:
        # One for each row, times the columns' sums, is a constant as large as the result.
        return known.size == 1 and abs(int(known.item())) <= LARGEST_BYTE
    conversion = graph.call(value, "relax.astype")
    return conversion is not None and _is_bytes(conversion.args[0])


def is_pixel(operand: ByteOperand, graph: Dataflow) -> bool:
    """Whether the zero point is one number, of the type of the bytes: a border is made of it."""
    import numpy as np

    zero_point = operand.zero_point
    if zero_point is None:
        return True
    if any(constant(extent) != 1 for extent in zero_point.ty.shape):
        return False
    known = constant_array(graph.definition(zero_point))
    if known is None:
        return str(graph.definition(zero_point).args[0].ty.dtype) == operand.dtype
    limits = np.iinfo(operand.dtype)
    return limits.min <= int(known.item()) <= limits.max


def _is_bytes(value: Any) -> bool:
    return str(value.ty.dtype) in _BYTES


def narrow(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """[K, N] in int8 and an offset for each column; None where a column does not fit into a byte.

    Refused too if a partial sum could leave int32, where TVM promises nothing.
    """
    import numpy as np

    low, high = weight.min(axis=0).astype(np.int64), weight.max(axis=0).astype(np.int64)
    if (high - low > LARGEST_BYTE).any():
        return None
    offset = np.where((low >= -128) & (high <= 127), 0, low + 128)
    narrowed = weight - offset
    largest = 4 * LARGEST_BYTE * (np.abs(narrowed).sum(axis=0) + np.abs(offset) * len(weight))
    if (largest > _LARGEST_SUM).any():
        return None
    return narrowed.astype(np.int8), offset.astype(np.int32)


def sign_moved(dtype: str, instruction: DotProduct | None) -> int:
    """s, for bytes of `dtype`."""
    return 0 if instruction is None else moved_by(dtype, instruction.left)


def takes_bytes(instruction: DotProduct | None) -> bool:
    """Whether it multiplies bytes; otherwise the zero point is taken away before."""
    return instruction is not None and instruction.left != "int16"


def known_terms(
    weight: np.ndarray, zero_point: Any, moved: int, bias: np.ndarray | None
) -> np.ndarray:
    """What is added to each column of (A + s) B, as far as it is known, int32 [N].

    It is `bias` [N] (None for 0), less (za + s) colsum(B). `weight` is B [K, N], `zero_point` za
    (None for 0) and `moved` s.
    """
    import numpy as np

    added = np.zeros(weight.shape[1], np.int32) if bias is None else bias
    known: Any = np.int32(0) if zero_point is None else constant_array(zero_point)
    if known is not None:
        with np.errstate(over="ignore"):
            each = known.reshape(()).astype(np.int32) + np.int32(moved)
            added = added - each * weight.sum(axis=0, dtype=np.int32)
    return added.astype(np.int32)


def less_computed(builder: Any, sums: Any, weight: np.ndarray, zero_point: Any, moved: int) -> Any:
    """`sums`, less what `known_terms` leaves out: (za + s) colsum(B) of a computed za."""
    import numpy as np
    from tvm import relax

    if zero_point is None or constant_array(zero_point) is not None:
        return sums
    op, each, sums = relax.op, zero_point, builder.emit(sums)
    if len(each.ty.shape) > len(sums.ty.shape):
        # One number in the rank that the operand had before it was moved.
        each = builder.emit(op.reshape(each, ()))
    if moved:
        each = builder.emit(op.add(each, relax.const(moved, "int32")))
    total = relax.const(weight.sum(axis=0, dtype=np.int32))
    term = builder.emit(op.multiply(each, total))
    return op.subtract(sums, term)


def add_offset(builder: Any, sums: Any, rows: Any, offset: np.ndarray) -> Any:
    """`sums` plus what X sums up to in each row, `rows`, times ob."""
    from tvm import relax

    op = relax.op
    term = builder.emit(op.multiply(rows, relax.const(offset)))
    return op.add(builder.emit(sums), term)


def bias_behind(variable: Any, graph: Dataflow) -> tuple[Any, np.ndarray | None]:
    """What is to be replaced for a sum, and the constant that it adds to each column.

    It is the addition behind the sum, if that alone reads it; otherwise the sum itself, and None.
    """
    alone = (graph.definition(variable), None)
    if not graph.is_read_once(variable):
        return alone
    addition = graph.call(graph.readers(variable)[0], "relax.add")
    if addition is None:
        return alone
    left, right = addition.args
    other = right if graph.definition(left) is graph.definition(variable) else left
    value, columns = constant_array(graph.definition(other)), constant(variable.ty.shape[-1])
    if value is None or columns is None or value.ndim > len(variable.ty.shape):
        return alone
    if value.size > 1 and (value.size, value.shape[-1]) != (columns, columns):
        return alone
    import numpy as np

    return addition, np.broadcast_to(value.reshape(-1), (columns,)).astype(np.int32)


def dot_tile(
    rows: int | None,
    columns: int,
    groups: int,
    instruction: DotProduct | None,
    machine: Machine,
    *,
    whole: bool = False,
) -> Tile:
    """The tile of a product of `rows` x `columns` that sums `groups` of the instruction.

    `whole` as in `choose_tile`.
    """
    if instruction is None:
        return choose_tile(rows, columns, groups, machine, "int32", whole=whole)
    spare = machine.vector_registers - instruction.registers
    machine = replace(machine, vector_registers=spare)
    if instruction.in_pairs:
        pairs = None if rows is None else -(-rows // 2)
        return choose_tile(pairs, 2 * columns, groups, machine, "int32", whole=whole, paired=True)
    return choose_tile(rows, columns, groups, machine, "int32", whole=whole)
