"""Depthwise convolutions of small integers, as ONNX ConvInteger becomes with a group a channel.

By dot products where the machine sums four bytes at once. Elsewhere the bytes are converted as they
are read and multiplied one by one, exactly: in int32 by NEON, on x86-64 in float32, whose
multiply-add is one instruction and whose sums are whole numbers below 2^24.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.byte_convolution import byte_convolution
from autoglm_tvm.compiler.passes.dataflow import (
    Dataflow,
    Visit,
    constant_array,
    replace_calls,
)
from autoglm_tvm.compiler.passes.integer_operands import (
    LARGEST_BYTE,
    ByteOperand,
    bias_behind,
    known_terms,
    less_computed,
    narrow,
    sign_moved,
    takes_bytes,
)
from autoglm_tvm.compiler.passes.packing import FUSIBLE, emit
from autoglm_tvm.schedules.choices import Lowering
from autoglm_tvm.schedules.intrinsics.dot_product import DotProduct, dot_product_for
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.depthwise import (
    depthwise_conv2d,
    pack_depthwise,
)
from autoglm_tvm.schedules.operators.dot_depthwise import (
    GROUP,
    dot_depthwise_conv2d,
    pack_dot_depthwise,
    pack_start,
)
from autoglm_tvm.schedules.rules.dot_depthwise import choose_dot_tile
from autoglm_tvm.schedules.workload import conv2d_workload

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule


_KERNEL = "integer_depthwise_conv2d"
_LARGEST_SUM = (1 << 31) - 1
# Whole numbers up to this are exact in float32.
_LARGEST_FLOAT = 1 << 24


@dataclass(frozen=True)
class _Convolution:
    """A depthwise convolution that fits bytes.

    Attributes
    ----------
    image
        The left operand, NHWC.
    window
        How the kernel moves.
    weight
        OHWI with one input channel; int8 for an instruction, else int32.
    bias
        What is added behind it to each channel, int32; None for nothing.
    instruction
        What multiplies them: it sums four products of bytes. None for one by one.
    """

    image: ByteOperand
    window: Window
    weight: np.ndarray
    bias: np.ndarray | None
    instruction: DotProduct | None


def pack_integer_depthwise(module: IRModule, machine: Machine) -> IRModule:
    """Return the module with the kernel in place of each such convolution of ``main``.

    What it does not take stays a convolution of int32.
    """

    def emit_convolution(builder: Any, match: _Convolution, visit: Visit) -> Any:
        return _emit(builder, replace(match, image=match.image.mapped(visit)), machine)

    graph = Dataflow(module["main"])
    matches = [_match(variable, graph, machine) for variable in graph.variables]
    return replace_calls(module, matches, emit_convolution)


def _match(variable: Any, graph: Dataflow, machine: Machine) -> tuple[Any, _Convolution] | None:
    """What is to be replaced, and the convolution that it is."""
    found = byte_convolution(variable, graph)
    if found is None or not found.is_depthwise or None in found.extents[1:]:
        return None
    weight, window, operand = found.weight, found.window, found.image
    replaced, bias = bias_behind(variable, graph)
    dots = _by_dot_products(operand, weight, found.extents[-1] or 0, machine)
    if dots is not None:
        return replaced, _Convolution(operand, window, dots[0], bias, dots[1])
    known = operand.zero_point is None or constant_array(operand.zero_point) is not None
    if not known or _largest_sum(weight) > _LARGEST_SUM:
        return None
    return replaced, _Convolution(operand, window, weight, bias, None)


def _by_dot_products(
    image: ByteOperand, weight: np.ndarray, channels: int, machine: Machine
) -> tuple[np.ndarray, DotProduct] | None:
    """The weight as int8, and what multiplies four bytes by four; None where nothing does."""
    if len(weight) != channels:
        return None
    narrowed = narrow(weight.reshape(channels, -1).T)
    if narrowed is None or narrowed[1].any():
        return None
    small = narrowed[0]
    instruction = dot_product_for(machine, image.dtype, int(small.min()), 1)
    if instruction is None or not takes_bytes(instruction):
        return None
    if instruction.group != GROUP or instruction.in_halves:
        return None
    return small.T.reshape(weight.shape), instruction


def _largest_sum(weight: np.ndarray) -> int:
    """How large a sum of pixels, less their zero point, times the weight can become."""
    import numpy as np

    magnitudes = np.abs(weight.reshape(len(weight), -1).astype(np.int64))
    return int(magnitudes.sum(axis=1).max()) * LARGEST_BYTE


def _emit(builder: Any, match: _Convolution, machine: Machine) -> Any:
    """The kernel, and what is added to its sums."""
    if match.instruction is None:
        return _one_by_one(builder, match, machine)
    return _dot_products(builder, match, match.instruction, machine)


def _dot_products(
    builder: Any, match: _Convolution, instruction: DotProduct, machine: Machine
) -> Any:
    from tvm import relax

    image, window = match.image, match.window
    data, zero_point = image.moved_data(builder), image.zero_point
    extents = [constant(extent) for extent in data.ty.shape]
    _, height, width, channels = extents
    result_width = window.output(height, width)[1]
    tile = choose_dot_tile(window, result_width, channels or 1, machine)
    dtypes = (image.dtype, instruction.name)
    workload = conv2d_workload(dtypes, extents, match.weight.shape, window)
    matrix = match.weight.reshape(len(match.weight), -1).T
    moved = sign_moved(image.dtype, instruction)
    added = known_terms(matrix, zero_point, moved, match.bias)
    known = None if zero_point is None else constant_array(zero_point)
    # The border is made of the zero point, which may be known only when it runs.
    borders = [zero_point] if zero_point is not None and known is None else []
    in_kernel = added.any() and tile.unrolls(window.kernel[1])
    starts = [relax.const(pack_start(added, tile))] if in_kernel else []

    def body(a: Any, weight: Any, *others: Any) -> Any:
        fill: Any = others[0] if borders else 0 if known is None else int(known.item())
        start = others[-1] if starts else None
        return dot_depthwise_conv2d(a, weight, window, tile, instruction, fill, start, workload)

    packed = relax.const(pack_dot_depthwise(match.weight, window, tile))
    sums = _call(builder, body, data, packed, *borders, *starts)
    if added.any() and not in_kernel:
        sums = relax.op.add(builder.emit(sums), relax.const(added))
    return less_computed(builder, sums, matrix, zero_point, moved)


def _call(builder: Any, body: Any, *operands: Any) -> Any:
    return builder.call_te(body, *operands, primfunc_name_hint=_KERNEL, primfunc_attrs=FUSIBLE)


def _one_by_one(builder: Any, match: _Convolution, machine: Machine) -> Any:
    import numpy as np
    from tvm import relax

    image, window = match.image, match.window
    data = image.moved_data(builder)
    known = None if image.zero_point is None else constant_array(image.zero_point)
    zero_point = 0 if known is None else int(known.item())
    in_floats = machine.arch == "x86_64" and _largest_sum(match.weight) <= _LARGEST_FLOAT
    dtype = "float32" if in_floats else "int32"
    extents = [constant(extent) for extent in data.ty.shape]
    workload = conv2d_workload((image.dtype, dtype), extents, match.weight.shape, window)

    def body(a: Any, weight: Any) -> Any:
        return depthwise_conv2d(a, weight, window, "int32", workload, zero_point)

    packed = pack_depthwise(match.weight.astype(dtype))
    sums = emit(builder, Lowering(body, packed), (data,), _KERNEL)
    if match.bias is None or not match.bias.any():
        return sums
    return relax.op.add(builder.emit(sums), relax.const(match.bias.astype(np.int32)))
