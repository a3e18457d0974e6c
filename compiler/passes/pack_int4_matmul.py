"""Products with weights of few bits (`converters/matmul_nbits.py`): packed, unpacked in registers.

What is left alone computes the same, slowly: a weight that is not constant, groups in another order
than that of K.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from autoglm_tvm.compiler.converters.matmul_nbits import NBITS
from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_array
from autoglm_tvm.compiler.passes.packing import FUSIBLE, product
from autoglm_tvm.schedules.intrinsics.dot_product import SDOT, DotProduct
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.int4_dot_matmul import (
    DIGITS,
    STEPS,
    group_peaks,
    int4_dot_matmul,
    pack_halves,
    split_digits,
)
from autoglm_tvm.schedules.operators.int4_matmul import (
    choose_int4_tile,
    group_totals,
    int4_matmul,
    pack_fields,
)
from autoglm_tvm.schedules.operators.matmul import pack_panels

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule

_WORD_BITS = 32


@dataclass(frozen=True)
class _Product:
    """A product with a constant weight of few bits.

    Attributes
    ----------
    data
        A [..., K].
    blocks
        B: uint8 [N, groups, bytes].
    scales
        [groups, N].
    offsets
        [groups, N], what is added to a signed number before it is scaled; None where always 0.
    reduced, bits, group
        K, the width of a number, numbers that share a scale.
    """

    data: Any
    blocks: np.ndarray
    scales: np.ndarray
    offsets: np.ndarray | None
    reduced: int
    bits: int
    group: int


def pack_int4_matmul(module: IRModule, machine: Machine) -> IRModule:
    """Return the module with the kernel in place of each such product of ``main``."""
    from tvm.relax.expr_functor import PyExprMutator, mutator

    main = module["main"]
    graph = Dataflow(main)
    matches = {call: _match(call, graph, module) for call in map(graph.definition, graph.variables)}
    found = {call: match for call, match in matches.items() if match is not None}
    if not found:
        return module

    @mutator
    class Pack(PyExprMutator):
        """Replaces the product."""

        def __init__(self, mod: IRModule) -> None:
            super().__init__(mod)
            self.shared = _Shared(self.builder_)

        def visit_dataflow_block_(self, block: Any) -> Any:
            self.shared.forget()
            return super().visit_dataflow_block_(block)

        def visit_call_(self, op: Any) -> Any:
            match = found.get(op)
            if match is None:
                return self.visit_expr_post_order(op)
            return _emit(self.visit_expr(match.data), match, machine, self.shared)

    pack: Any = Pack(module)
    pack.builder_.update_func(module.get_global_var("main"), pack.visit_expr(main))
    return pack.builder_.get()


def _match(call: Any, graph: Dataflow, module: IRModule) -> _Product | None:
    import numpy as np
    from tvm import ir, relax

    if not isinstance(call, relax.Call) or call.op != ir.Op.get("relax.call_tir"):
        return None
    kernel: Any = call.args[0]
    data, *rest = list(cast(Any, call.args[1]))
    attributes = module[kernel].attrs
    if attributes is None or NBITS not in attributes:
        return None
    marks = {str(name): value for name, value in attributes[NBITS].items()}
    reduced, columns, bits, group = (int(marks[n]) for n in ("K", "N", "bits", "block_size"))
    arrays = [constant_array(graph.definition(operand)) for operand in rest]
    known = [array for array in arrays if array is not None]
    rows = product(list(data.ty.shape)[:-1])
    if len(known) < len(rest) or "g_idx" in marks or rows == 0:
        return None
    blocks, scales, *zeros = known
    if group * bits % _WORD_BITS:
        return None
    groups = blocks.shape[1]
    scales = scales.reshape(columns, groups).T
    offsets = _offsets(zeros[0], columns, groups, bits) if zeros else None
    if offsets is not None and not offsets.any():
        offsets = None
    return _Product(data, blocks, np.ascontiguousarray(scales), offsets, reduced, bits, group)


def _offsets(zeros: np.ndarray, columns: int, groups: int, bits: int) -> np.ndarray:
    """Half of the range minus the zero points, [groups, N], as narrow as they fit."""
    import numpy as np

    half = 1 << (bits - 1)
    if zeros.dtype == np.uint8:
        each = 8 // bits
        stored = zeros.reshape(columns, -1, 1) >> np.arange(0, 8, bits, dtype=np.uint8)
        numbers = (stored & ((1 << bits) - 1)).reshape(columns, -1)[:, :groups]
        assert stored.shape[-1] == each
    else:
        numbers = zeros.reshape(columns, groups).astype(np.float32)
    offsets = (half - numbers.astype(np.float32)).T
    narrow = offsets.astype(np.int8)
    return narrow if (narrow == offsets).all() else np.ascontiguousarray(offsets)


def _emit(data: Any, match: _Product, machine: Machine, shared: _Shared) -> Any:
    """The kernel, on data that is filled up to whole groups."""
    from tvm import relax

    *leading, _ = data.ty.shape
    columns, groups, _ = match.blocks.shape
    padding = groups * match.group - match.reduced
    if padding:
        data = shared.emit("padded", data, padding, lambda: _padded(data, padding))
    rows, instruction = product(leading), _instruction(match, machine)
    if instruction is None:
        tile = choose_int4_tile(rows, columns, machine, steps=_WORD_BITS // match.bits)
        packed = pack_fields(match.blocks, match.bits, tile.columns)
        operands = [data]
    else:
        tile = choose_int4_tile(rows, columns, machine, steps=STEPS, operands=DIGITS, unpacking=1)
        packed = pack_halves(match.blocks, tile.columns)
        peaks = shared.call("group_peaks", data, match.group, group_peaks)
        operands = [shared.digits(data, peaks, match.group), peaks]
    scales = _narrow(match.scales, machine)
    operands += [relax.const(packed), relax.const(pack_panels(scales, tile.columns))]
    if match.offsets is not None:
        operands.append(relax.const(pack_panels(match.offsets, tile.columns)))
        operands.append(shared.call("group_totals", data, match.group, group_totals))
    dtype = str(data.ty.dtype)

    def body(*tensors: Any) -> Any:
        if instruction is None:
            return int4_matmul(*tensors, columns=columns, bits=match.bits, tile=tile)
        return int4_dot_matmul(
            *tensors, columns=columns, instruction=instruction, tile=tile, dtype=dtype
        )

    return shared.builder.call_te(
        body, *operands, primfunc_name_hint=f"int{match.bits}_matmul", primfunc_attrs=FUSIBLE
    )


def _instruction(match: _Product, machine: Machine) -> DotProduct | None:
    """What sums products of bytes, where it multiplies signed ones faster than floats are."""
    if match.bits != 4 or machine.dot_product not in ("dotprod", "i8mm"):
        return None
    return SDOT


def _narrow(scales: np.ndarray, machine: Machine) -> np.ndarray:
    """The scales as float16 where that changes none and costs no call for each."""
    import numpy as np

    with np.errstate(over="ignore"):
        half = scales.astype(np.float16)
    exact = bool((half.astype(scales.dtype) == scales).all())
    return half if exact and machine.half_conversion else scales.astype(np.float32)


def _padded(data: Any, padding: int) -> Any:
    from tvm import relax

    return relax.op.nn.pad(data, [0, 0] * (len(data.ty.shape) - 1) + [0, padding])


class _Shared:
    """What is computed of the data of a product once for all products that read it."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder
        self._known: dict[Any, Any] = {}

    def forget(self) -> None:
        """Begin another block, where variables of earlier ones may not be read."""
        self._known.clear()

    def emit(self, kind: str, data: Any, size: int, make: Callable[[], Any]) -> Any:
        """The variable of what `make` returns, the same for the same kind, data and size."""
        key = (kind, data, size)
        if key not in self._known:
            self._known[key] = self.builder.emit(make())
        return self._known[key]

    def call(self, name: str, data: Any, size: int, function: Callable[..., Any]) -> Any:
        """The result of a tensor expression of the data and the size of a group."""
        return self.emit(
            name,
            data,
            size,
            lambda: self.builder.call_te(function, data, size, primfunc_name_hint=name),
        )

    def digits(self, data: Any, peaks: Any, group: int) -> Any:
        """The digits of the data."""
        return self.emit(
            "digits",
            data,
            group,
            lambda: self.builder.call_te(
                split_digits, data, peaks, group, primfunc_name_hint="digits"
            ),
        )
