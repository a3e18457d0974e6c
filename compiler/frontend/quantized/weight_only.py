"""Products of floats with a constant weight of 4 or 8 bits in blocks: com.microsoft's MatMulNBits.

DequantizeLinear of the whole weight would make floats of it. MatMulNBits keeps the bits, and its
kernel unpacks them in registers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, attributes, replace_items
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.frontend.quantized.constant_store import ConstantStore
from autoglm_tvm.compiler.frontend.quantized.packing import pack_bits

if TYPE_CHECKING:
    import numpy as np
    import onnx

MICROSOFT = "com.microsoft"
#: Bits of the types of a weight, and what makes them unsigned.
WEIGHT_TYPES = {"int4": (4, 8), "uint4": (4, 0), "int8": (8, 128), "uint8": (8, 0)}
#: Operators that leave a quantized tensor's scale as it is.
KEEP_SCALE = (
    "Clip",
    "Flatten",
    "Identity",
    "MaxPool",
    "Relu",
    "Reshape",
    "Slice",
    "Split",
    "Squeeze",
    "Transpose",
    "Unsqueeze",
)
#: MatMulNBits takes powers of two from here on.
SMALLEST_BLOCK = 16
#: A weight with one scale a column gets it once for each of the largest blocks that divide K.
BLOCKS_OF_COLUMNS = (128, 64, 32, 16)


@dataclass(frozen=True)
class BlockedWeight:
    """A weight [K, N] with one scale for each block of rows of each column.

    Attributes
    ----------
    values, zeros
        Unsigned integers of `bits`: uint8 [K, N] and [blocks, N].
    scales
        Floats [blocks, N].
    """

    values: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    bits: int
    block: int


def weight_only_products(
    model: onnx.ModelProto, constants: ConstantStore, fresh: FreshNames
) -> int:
    """Turn MatMul and Gemm by DQ(constant) into MatMulNBits, in place; return how many.

    Where A itself is quantized, only a weight in blocks is: without, the product is one of
    integers.
    """
    producers = {name: node for node in model.graph.node for name in node.output}
    types = tensor_types(model.graph)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        source = producers.get(node.input[1]) if len(node.input) > 1 else None
        made = None
        if source is not None and source.op_type == "DequantizeLinear":
            by_integers = _comes_from_integers(node.input[0], producers)
            made = _product(node, source, types, constants, fresh, only_blocks=by_integers)
        nodes.extend(made or [node])
        count += made is not None
    if count:
        replace_items(model.graph.node, nodes)
        _import_microsoft(model)
    return count


def _product(
    node: onnx.NodeProto,
    source: onnx.NodeProto,
    types: dict[str, onnx.TypeProto],
    constants: ConstantStore,
    fresh: FreshNames,
    *,
    only_blocks: bool,
) -> list[onnx.NodeProto] | None:
    """Return what computes `node` by MatMulNBits; None where its weight or form does not fit."""
    from onnx import helper

    given = attributes(node)
    if node.op_type not in ("MatMul", "Gemm") or given.pop("alpha", 1.0) != 1.0:
        return None
    if given.pop("transA", 0) or given.pop("beta", 1.0) != 1.0:
        return None
    weight = _blocked_weight(source, bool(given.pop("transB", 0)), constants, only_blocks)
    if weight is None or not _same_type(node.input[0], source.output[0], types):
        return None
    rows, columns = weight.values.shape
    name = node.name
    inputs = [node.input[0], *_operands(weight, source.input[0], constants, fresh)]
    bias = node.input[2] if len(node.input) > 2 else ""
    added = bool(bias) and static_shape(types.get(bias)) != (columns,)
    if bias and not added:
        inputs += [""] * (5 - len(inputs)) + [bias]
    output = fresh.take(f"{name}/product") if added else node.output[0]
    sizes = {"K": rows, "N": columns, "bits": weight.bits, "block_size": weight.block}
    made = [
        helper.make_node(
            "MatMulNBits", inputs, [output], name=name, domain=MICROSOFT, accuracy_level=0, **sizes
        )
    ]
    if added:
        adding = fresh.take(f"{name}/Add")
        made.append(helper.make_node("Add", [output, bias], list(node.output), name=adding))
    return made


def _comes_from_integers(name: str, producers: dict[str, onnx.NodeProto]) -> bool:
    """Whether a tensor is dequantized, maybe moved or clipped since: then integers can multiply."""
    node = producers.get(name)
    while node is not None and node.op_type in KEEP_SCALE:
        node = producers.get(node.input[0])
    return node is not None and node.op_type == "DequantizeLinear"


def _blocked_weight(
    source: onnx.NodeProto, transposed: bool, constants: ConstantStore, only_blocks: bool
) -> BlockedWeight | None:
    """Read the constant weight of a DequantizeLinear as [K, N]; None where it does not fit."""
    import numpy as np

    values, scales = (constants.value(name) for name in source.input[:2])
    if values is None or scales is None or values.ndim != 2:
        return None
    if str(values.dtype) not in WEIGHT_TYPES:
        return None
    bits, offset = WEIGHT_TYPES[str(values.dtype)]
    read = attributes(source)
    block, axis = int(read.get("block_size", 0)), int(read.get("axis", 1)) % 2
    if read.get("output_dtype") or (not block and only_blocks):
        return None
    zeros = np.zeros(scales.shape, values.dtype)
    if len(source.input) > 2 and source.input[2]:
        given = constants.value(source.input[2])
        if given is None:
            return None
        zeros = given
    if transposed:
        values, axis = values.T, 1 - axis
        scales, zeros = (item.T for item in (scales, zeros)) if block else (scales, zeros)
    if not block:
        if scales.ndim and axis != 1:
            return None
        rows = values.shape[0]
        block = next((b for b in BLOCKS_OF_COLUMNS if rows % b == 0), SMALLEST_BLOCK)
        shape = (-(-values.shape[0] // block), values.shape[1])
        scales, zeros = (np.broadcast_to(item, shape) for item in (scales, zeros))
    elif axis != 0 or block < SMALLEST_BLOCK or block & (block - 1):
        return None
    return BlockedWeight(
        (values.astype(np.int16) + offset).astype(np.uint8),
        scales,
        (zeros.astype(np.int16) + offset).astype(np.uint8),
        bits,
        block,
    )


def _operands(
    weight: BlockedWeight, name: str, constants: ConstantStore, fresh: FreshNames
) -> list[str]:
    """Add the packed weight, its scales and its zero points as constants; return their names."""
    import numpy as np

    rows, columns = weight.values.shape
    blocks = weight.scales.shape[0]
    padded = np.zeros((columns, blocks * weight.block), np.uint8)
    padded[:, :rows] = weight.values.T
    packed = pack_bits(padded.reshape(columns, blocks, weight.block), weight.bits)
    names = [
        constants.once(f"{name}/packed", packed, fresh),
        constants.once(f"{name}/scales", np.ascontiguousarray(weight.scales.T), fresh),
    ]
    if (weight.zeros != 1 << (weight.bits - 1)).any():
        zeros = pack_bits(weight.zeros.T, weight.bits)
        names.append(constants.once(f"{name}/zero_points", zeros, fresh))
    return names


def _same_type(left: str, right: str, types: dict[str, onnx.TypeProto]) -> bool:
    first, second = types.get(left), types.get(right)
    if first is None or second is None:
        return False
    return first.tensor_type.elem_type == second.tensor_type.elem_type


def _import_microsoft(model: onnx.ModelProto) -> None:
    if all(entry.domain != MICROSOFT for entry in model.opset_import):
        model.opset_import.add(domain=MICROSOFT, version=1)
