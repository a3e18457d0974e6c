"""SmoothQuant: move outliers of activations into weights, where each channel has room for them.

For y = x W with columns j of x and rows j of W, and any s_j > 0 (Xiao et al., 2022, section 4):

    y = (x / s) (s W),   s_j = max|x_j|^alpha / max|W_j|^(1 - alpha)

An activation has one scale for all its columns, so that a few columns of large values cost all
the others their precision; a weight has finer scales. 1 / s goes into the constants of the
normalisation before, where nothing else reads its result, and is a multiplication elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import (
    FreshNames,
    attribute,
    input_names,
    kept_names,
    replace_items,
)
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.quantization.channel_statistics import channel_statistics
from autoglm_tvm.compiler.quantization.operators import (
    BYTE_ARITHMETIC,
    BYTE_MOVES,
    CLIPS,
)

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData

#: Columns or rows of smaller magnitude than this are left as they are.
_LEAST = 1e-5


def smooth(
    proto: onnx.ModelProto, nodes: Collection[str], data: CalibrationData, alpha: float
) -> list[str]:
    """Migrate outliers before the products `nodes` (names), in place; return notes.

    Parameters
    ----------
    proto
        A self-contained float model with inferred shapes.
    data
        Runs to find the magnitudes of columns on.
    alpha
        0 leaves activations as they are, 1 makes all their columns equally large.
    """
    groups = _groups(proto, nodes)
    if not groups:
        return []
    columns = channel_statistics(proto, data, dict.fromkeys(groups, -1))
    smoother = _Smoother(proto)
    own = sum(smoother.smooth(name, groups[name], columns[name].largest, alpha) for name in columns)
    smoother.finish()
    note = f"smoothed the inputs of {sum(map(len, groups.values()))} products with alpha {alpha:g}"
    return [note + (f"; {own} multiplications were added for it" if own else "")]


def _groups(proto: onnx.ModelProto, nodes: Collection[str]) -> dict[str, list[onnx.NodeProto]]:
    """Return the products of each float tensor with constant matrices; its columns are known.

    What comes out of a node on bytes is left alone: a multiplication would make it float.
    """
    types = tensor_types(proto.graph)
    constants = {tensor.name for tensor in proto.graph.initializer}
    of_bytes = {
        output
        for node in proto.graph.node
        if node.name in nodes and _stays_in_bytes(node, constants)
        for output in node.output
    }
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        shape = static_shape(types.get(node.input[0])) if node.input else None
        if node.name not in nodes or node.op_type not in ("MatMul", "Gemm"):
            continue
        if shape and shape[-1] and node.input[0] not in of_bytes:
            found.setdefault(node.input[0], []).append(node)
    return found


def _stays_in_bytes(node: onnx.NodeProto, constants: Collection[str]) -> bool:
    if node.op_type == "Add":
        # With a constant it is the end of a normalisation.
        return not any(name in constants for name in node.input)
    return node.op_type in (*BYTE_ARITHMETIC, *BYTE_MOVES, *CLIPS)


class _Smoother:
    def __init__(self, proto: onnx.ModelProto) -> None:
        self._graph = proto.graph
        self._fresh = FreshNames(proto.graph)
        self._constants = {tensor.name: tensor for tensor in proto.graph.initializer}
        self._kept = kept_names(proto.graph)
        self._divisions: dict[str, onnx.NodeProto] = {}

    def smooth(
        self, name: str, products: list[onnx.NodeProto], columns: np.ndarray, alpha: float
    ) -> bool:
        """Smooth one tensor and its products; return whether a multiplication was needed for it."""
        import numpy as np

        weights = [self._value(node.input[1]).astype(np.float64) for node in products]
        turned = [bool(attribute(node, "transB", 0)) for node in products]
        rows = np.max(
            [np.abs(w).max(axis=0 if t else 1) for w, t in zip(weights, turned, strict=True)],
            axis=0,
        )
        columns = columns.astype(np.float64)
        used = (columns > _LEAST) & (rows > _LEAST)
        safe_columns, safe_rows = np.where(used, columns, 1.0), np.where(used, rows, 1.0)
        scales = np.where(used, safe_columns**alpha / safe_rows ** (1 - alpha), 1.0)
        for node, weight, turn in zip(products, weights, turned, strict=True):
            scaled = weight * (scales if turn else scales[:, None])
            node.input[1] = self._add(node.input[1], scaled.astype(np.float32))
        return not self._fold_before(name, products, scales) and self._divide(
            name, products, scales
        )

    def _divide(self, name: str, products: list[onnx.NodeProto], scales: np.ndarray) -> bool:
        """Let the products read x / s; other readers keep x."""
        import numpy as np
        from onnx import helper

        factor = self._add(f"{name}_smooth", (1 / scales).astype(np.float32))
        smoothed = self._fresh.take(f"{name}_smoothed")
        label = self._fresh.take(f"{name}_Smooth")
        self._divisions[products[0].output[0]] = helper.make_node(
            "Mul", [name, factor], [smoothed], label
        )
        for node in products:
            node.input[0] = smoothed
        return True

    def finish(self) -> None:
        """Put the multiplications into the graph; the nodes that were handed in are stale then."""
        nodes = []
        for node in self._graph.node:
            if node.output[0] in self._divisions:
                nodes.append(self._divisions[node.output[0]])
            nodes.append(node)
        replace_items(self._graph.node, nodes)

    def _fold_before(self, name: str, products: list[onnx.NodeProto], scales: np.ndarray) -> bool:
        """Divide the constants of the normalisation that makes x, where only the products read x.

        Either LayerNormalization, or a product with a constant and the sum with another one.
        """
        readers = [node for node in self._graph.node if name in input_names(node)]
        ours = {node.output[0] for node in products}
        if name in self._kept or any(node.output[0] not in ours for node in readers):
            return False
        maker = self._maker(name)
        if maker is None:
            return False
        if maker.op_type == "LayerNormalization" and not maker.domain:
            places = [(maker, at) for at in range(1, len(maker.input))]
        elif maker.op_type == "Mul":
            places = self._constant_operands(maker)
        elif maker.op_type == "Add":
            places = self._constant_operands(maker)
            product = next((n for n in maker.input if n not in self._constants), "")
            before = self._maker(product) if places else None
            if before is None or before.op_type != "Mul" or not self._is_private(product):
                return False
            factor = self._constant_operands(before)
            places = [*places, *factor] if factor else []
        else:
            return False
        vectors = [node.input[at] for node, at in places]
        if not places or any(self._width(vector) != len(scales) for vector in vectors):
            return False
        for node, at in places:
            value = self._value(node.input[at])
            node.input[at] = self._add(node.input[at], (value / scales).astype(value.dtype))
        return True

    def _constant_operands(self, node: onnx.NodeProto) -> list[tuple[onnx.NodeProto, int]]:
        return [(node, at) for at, name in enumerate(node.input) if name in self._constants]

    def _maker(self, name: str) -> onnx.NodeProto | None:
        return next((node for node in self._graph.node if name in node.output), None)

    def _is_private(self, name: str) -> bool:
        readers = sum(name in input_names(node) for node in self._graph.node)
        return readers == 1 and name not in self._kept

    def _width(self, name: str) -> int:
        """Return the length of a constant that is one vector along the last axis; 0 otherwise."""
        if name not in self._constants:
            return 0
        dims = list(self._constants[name].dims)
        return dims[-1] if dims and all(dim == 1 for dim in dims[:-1]) else 0

    def _value(self, name: str) -> np.ndarray:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._constants[name])

    def _add(self, name: str, value: np.ndarray) -> str:
        from onnx import numpy_helper

        tensor = numpy_helper.from_array(value, self._fresh.take(name))
        self._graph.initializer.append(tensor)
        self._constants[tensor.name] = tensor
        return tensor.name
