"""Convolutions of small integers, as ONNX ConvInteger becomes: weights of a byte, exact in int32.

The border is made of the zero point in bytes, so that each window holds as many of them and what
they add is a constant of each output channel (`integer_operands.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.byte_convolution import byte_convolution
from autoglm_tvm.compiler.passes.dataflow import Dataflow, Visit, constant_array, replace_calls
from autoglm_tvm.compiler.passes.integer_operands import (
    ByteOperand,
    add_offset,
    bias_behind,
    dot_tile,
    known_terms,
    less_computed,
    narrow,
    sign_moved,
    takes_bytes,
)
from autoglm_tvm.compiler.passes.pack_integer_matmul import IntegerProduct, emit_integer_product
from autoglm_tvm.compiler.passes.packing import emit, product, tensor_type
from autoglm_tvm.schedules.choices import Anchor, Choices, Config, Lowering
from autoglm_tvm.schedules.intrinsics.dot_product import LANES, DotProduct, dot_product_for
from autoglm_tvm.schedules.kernel import constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.operators.conv2d import Window
from autoglm_tvm.schedules.operators.dot_conv2d import dot_conv2d, pack_conv2d_words, runs_of
from autoglm_tvm.schedules.tiles import tuned_tile
from autoglm_tvm.schedules.workload import conv2d_workload

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule


@dataclass(frozen=True)
class _Convolution:
    """A convolution that fits bytes.

    Attributes
    ----------
    image
        The left operand, NHWC.
    window
        How the kernel moves.
    weight
        Int8, OHWI.
    offset, bias
        For each output channel, int32: what the weight is larger by, and what is added behind
        (None for nothing).
    instruction
        What multiplies them.
    """

    image: ByteOperand
    window: Window
    weight: np.ndarray
    offset: np.ndarray
    bias: np.ndarray | None
    instruction: DotProduct

    @property
    def matrix(self) -> np.ndarray:
        """The weight as [K, N]."""
        return self.weight.reshape(self.weight.shape[0], -1).T


def pack_integer_conv2d(module: IRModule, machine: Machine, choices: Choices) -> IRModule:
    """Return the module with the kernel in place of each such convolution of ``main``.

    Depthwise ones stay: they are `pack_integer_depthwise`'s.
    """

    def emit_convolution(builder: Any, match: _Convolution, visit: Visit) -> Any:
        mapped = replace(match, image=match.image.mapped(visit))
        return _emit(builder, mapped, machine, choices)

    graph = Dataflow(module["main"])
    matches = [_match(variable, graph, machine) for variable in graph.variables]
    return replace_calls(module, matches, emit_convolution)


def _match(variable: Any, graph: Dataflow, machine: Machine) -> tuple[Any, _Convolution] | None:
    """What is to be replaced, and the convolution that it is."""
    found = byte_convolution(variable, graph)
    if found is None or found.is_depthwise:
        return None
    weight, window, operand = found.weight, found.window, found.image
    narrowed = narrow(weight.reshape(weight.shape[0], -1).T)
    if narrowed is None or (narrowed[1].any() and window.groups > 1):
        return None
    matrix, offset = narrowed
    columns = weight.shape[0] // window.groups
    if window.groups > 1 and columns % LANES:
        # Tiles end with a group, and would have vectors of a lane or two.
        return None
    lowest, rows = int(matrix.min()), _row(found.call, window)
    instruction = dot_product_for(machine, operand.dtype, lowest, rows, columns)
    if instruction is None:
        return None
    replaced, bias = bias_behind(variable, graph)
    small = matrix.T.reshape(weight.shape)
    return replaced, _Convolution(operand, window, small, offset, bias, instruction)


def _row(call: Any, window: Window) -> int | None:
    """How many pixels make up the rows of a tile; None where symbolic."""
    if window.is_pointwise:
        return product(list(call.ty.shape)[:-1])
    return constant(call.ty.shape[2])


def _emit(builder: Any, match: _Convolution, machine: Machine, choices: Choices) -> Any:
    """The kernel, and what is added to its sums."""
    import numpy as np
    from tvm import relax

    image, instruction = match.image, match.instruction
    if match.window.is_pointwise:
        # A matrix product whose rows are the pixels.
        pixels = IntegerProduct(image, match.matrix, match.offset, match.bias, instruction)
        return emit_integer_product(builder, pixels, machine, choices)
    if takes_bytes(instruction):
        data, zero_point = image.moved_data(builder), image.zero_point
    else:
        data, zero_point = builder.emit(relax.op.astype(image.value, "int16")), None

    def convolved(weight: np.ndarray, bias: np.ndarray | None) -> Any:
        one, moved = replace(match, weight=weight), sign_moved(image.dtype, instruction)
        added = known_terms(one.matrix, zero_point, moved, bias)
        sums = _convolve(builder, data, zero_point, added, one, machine, choices)
        return less_computed(builder, sums, one.matrix, zero_point, moved)

    sums = convolved(match.weight, match.bias)
    if match.offset.any():
        # Ones add up the windows; one channel of them would not fill a vector.
        windows = convolved(np.ones((LANES, *match.weight.shape[1:]), np.int8), None)
        strided_slice: Any = relax.op.strided_slice
        first = strided_slice(builder.emit(windows), [3], [0], [1])
        sums = add_offset(builder, sums, builder.emit(first), match.offset)
    return sums


def _convolve(
    builder: Any,
    data: Any,
    zero_point: Any,
    added: np.ndarray,
    match: _Convolution,
    machine: Machine,
    choices: Choices,
) -> Any:
    """`data` convolved with the weight, plus `added`; the border is the zero point."""
    from tvm import relax

    weight, window, instruction = match.weight, match.window, match.instruction
    channels, *_, of_group = weight.shape
    image = [constant(extent) for extent in data.ty.shape]
    fill, computed = _border(zero_point, window)
    operands = (data, *computed, relax.const(added))
    types = tuple(tensor_type(operand) for operand in operands)
    workload = conv2d_workload((types[0][1], instruction.name), image, weight.shape, window)
    _, height, width, _ = (extent or 1 << 20 for extent in image)
    out_width = window.output(height, width)[1]
    rows, words = None if image[2] is None else out_width, runs_of(window, of_group, instruction)
    columns, grouped = channels // window.groups, window.groups > 1

    def lower(config: Config) -> Lowering:
        tile = dot_tile(rows, columns, words.words, instruction, machine, whole=grouped)
        pair = 2 if instruction.in_pairs else 1
        tile = tuned_tile(tile, config, pair=pair, columns=columns if grouped else 0)

        def body(a: Any, *others: Any) -> Any:
            *border, bias, b = others
            filled = border[0] if border else fill
            return dot_conv2d(a, b, window, channels, tile, instruction, filled, workload, bias)

        return Lowering(body, pack_conv2d_words(weight, window, tile.columns, instruction))

    lowering = choices.lower(workload, Anchor(lower, types, columns=columns if grouped else 0))
    return emit(builder, lowering, operands, "integer_conv2d")


def _border(zero_point: Any, window: Window) -> tuple[int, tuple[Any, ...]]:
    """The number that the border is made of, or the operand that holds it."""
    if zero_point is None or not any(window.padding):
        return 0, ()
    known = constant_array(zero_point)
    return (0, (zero_point,)) if known is None else (int(known.item()), ())
