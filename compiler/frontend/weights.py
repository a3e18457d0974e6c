"""Keep large weights out of the protobuf: mapped from their file, never read as a whole.

A detached weight becomes a graph input of fixed shape, after the real inputs. Import binds it as a
constant later. Small tensors stay inside, since shape arithmetic needs their values.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.dtypes import dtype_label, is_carried, is_supported, numpy_dtype
from autoglm_tvm.compiler.frontend.graph import replace_items, walk_graphs, walk_nodes
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: Initializers inside the file are detached when together they take more bytes than this. Every
#: step of the read stage copies what is inside: an encoder of 340 MB took 18 s, detached 2 s.
DETACH_ABOVE = 64 * 2**20
#: Types that ONNX packs, and their bits.
BITS = {"int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2}
#: A tensor smaller than this always stays inside, wherever the file keeps it.
ALWAYS_INSIDE = 1024


def detach_weights(
    model: onnx.ModelProto, folder: Path | None, label: str, detach_above: int | None = None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Move the large initializers of `model` out of it, in place.

    Parameters
    ----------
    folder
        The model file's folder, below which external data must lie; None where there is no file.
    detach_above
        Detach tensors inside the file too when their sum exceeds this many bytes.

    Returns
    -------
    weights, notes
        The detached arrays by name, in the model's order. External ones are read-only memory maps.

    Raises
    ------
    UserInputError
        For external data that is missing, too short, or outside the model's folder.
    """
    limit = DETACH_ABOVE if detach_above is None else detach_above
    _take_inside_nested(model, folder, label)
    inside = [t for t in model.graph.initializer if not _is_external(t)]
    crowded = sum(t.ByteSize() for t in inside) > limit
    weights: dict[str, np.ndarray] = {}
    kept: list[onnx.TensorProto] = []
    for tensor in model.graph.initializer:
        external = _is_external(tensor)
        array = _external_array(tensor, folder, label) if external else None
        if array is None and crowded and _can_detach(tensor.data_type):
            array = _inside_array(tensor)
        if array is not None and array.nbytes >= ALWAYS_INSIDE:
            weights[tensor.name] = array
            model.graph.input.append(_as_input(tensor))
            continue
        if external and array is not None:
            _put_inside(tensor, array)
        kept.append(tensor)
    if not weights:
        return weights, []
    replace_items(model.graph.initializer, kept)
    total = sum(array.nbytes for array in weights.values())
    return weights, [f"kept {len(weights)} weights ({total} bytes) outside the graph"]


def _is_external(tensor: onnx.TensorProto) -> bool:
    import onnx

    return tensor.data_location == onnx.TensorProto.EXTERNAL


def _external_array(tensor: onnx.TensorProto, folder: Path | None, label: str) -> np.ndarray:
    """Map the external data of `tensor` as a read-only array of its shape."""
    import numpy as np

    if not _can_detach(tensor.data_type):
        raise UserInputError(
            f"tensor '{tensor.name}' has the unsupported dtype {dtype_label(tensor.data_type)}",
            where=label,
            hint="export the model with weights of float32, float16, 8 or 4 bits",
        )
    fields = {entry.key: entry.value for entry in tensor.external_data}
    path = _external_path(tensor.name, fields.get("location", ""), folder, label)
    dtype, shape = numpy_dtype(tensor.data_type), tuple(tensor.dims)
    needed = math.prod(shape) * dtype.itemsize
    if is_carried(tensor.data_type):
        needed = -(-math.prod(shape) * BITS.get(str(dtype), 8) // 8)
    offset = _number(fields.get("offset"), 0, tensor.name, label)
    declared = _number(fields.get("length"), needed, tensor.name, label)
    available = max(path.stat().st_size - offset, 0)
    if declared < needed or available < needed:
        raise UserInputError(
            f"the external data of tensor '{tensor.name}' is too short: it needs {needed} bytes "
            f"from offset {offset} of '{path.name}', which has {min(declared, available)}",
            where=label,
            hint="copy or download the data file again",
        )
    if needed == 0:
        return np.zeros(shape, dtype)
    raw = np.memmap(path, dtype=np.uint8, mode="r", offset=offset, shape=(needed,))
    if str(dtype) in BITS:
        return _unpacked(raw.tobytes(), tensor)
    return np.asarray(raw).view(dtype).reshape(shape)


def _external_path(name: str, location: str, folder: Path | None, label: str) -> Path:
    if folder is None:
        raise UserInputError(
            f"tensor '{name}' keeps its data in '{location}', but the model was given without a "
            "file, so the folder is unknown",
            where=label,
            hint="give the path of the .onnx file instead of the loaded model",
        )
    path = (folder / location).resolve()
    if not location or not path.is_relative_to(folder):
        raise UserInputError(
            f"tensor '{name}' keeps its data in '{location}', outside the model's folder",
            where=label,
            hint="external data must lie in the folder of the .onnx file or below it",
        )
    if not path.is_file():
        raise UserInputError(
            f"tensor '{name}' keeps its data in '{location}', which is missing",
            where=label,
            hint=f"put that file at {path}",
        )
    return path


def _number(text: str | None, default: int, name: str, label: str) -> int:
    if text is None:
        return default
    if not text.isdecimal():
        raise UserInputError(
            f"the external data of tensor '{name}' has '{text}' for an offset or length",
            where=label,
            hint="save the model again",
        )
    return int(text)


def _inside_array(tensor: onnx.TensorProto) -> np.ndarray:
    """View the data of a tensor inside the file; a copy only where ONNX stores it as a list."""
    import numpy as np
    from onnx import numpy_helper

    if not tensor.HasField("raw_data") or is_carried(tensor.data_type):
        return numpy_helper.to_array(tensor)
    flat = np.frombuffer(tensor.raw_data, dtype=numpy_dtype(tensor.data_type))
    return flat.reshape(tuple(tensor.dims))


def _unpacked(data: bytes, tensor: onnx.TensorProto) -> np.ndarray:
    """Read a packed tensor of 4 or 2 bits a value as one byte a value."""
    import onnx
    from onnx import numpy_helper

    inside = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims, raw_data=data)
    return numpy_helper.to_array(inside)


def _can_detach(elem_type: int) -> bool:
    return is_supported(elem_type) or is_carried(elem_type)


def _put_inside(tensor: onnx.TensorProto, array: np.ndarray) -> None:
    from onnx import numpy_helper

    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _as_input(tensor: onnx.TensorProto) -> onnx.ValueInfoProto:
    from onnx import helper

    return helper.make_tensor_value_info(tensor.name, tensor.data_type, tuple(tensor.dims))


def _take_inside_nested(model: onnx.ModelProto, folder: Path | None, label: str) -> None:
    """Read external data of branches and of Constant nodes: only main initializers are detached."""
    nested = [t for g in list(walk_graphs(model.graph))[1:] for t in g.initializer]
    nodes = [node for _, node in walk_nodes(model.graph)]
    nodes += [node for function in model.functions for node in function.node]
    nested += [a.t for node in nodes for a in node.attribute if a.HasField("t")]
    for tensor in nested:
        if _is_external(tensor):
            _put_inside(tensor, _external_array(tensor, folder, label))
