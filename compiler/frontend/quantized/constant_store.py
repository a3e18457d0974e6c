"""All constants of a model in one place, whether inside the graph or detached from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import FreshNames, input_names, replace_items
from autoglm_tvm.compiler.frontend.weights import ALWAYS_INSIDE

if TYPE_CHECKING:
    import numpy as np
    import onnx


class ConstantStore:
    """Reads and adds constants of the main graph.

    A large constant is detached where the model has detached weights already: it becomes an input
    of the graph, and an entry of `weights`.
    """

    def __init__(self, model: onnx.ModelProto, weights: dict[str, np.ndarray]) -> None:
        self._graph = model.graph
        self._weights = weights
        self._inside = {tensor.name: tensor for tensor in model.graph.initializer}
        self._named: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._inside or name in self._weights

    def value(self, name: str) -> np.ndarray | None:
        """Return the value of a constant; None for what is computed."""
        from onnx import numpy_helper

        if name in self._weights:
            return self._weights[name]
        tensor = self._inside.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a constant; None for what is computed."""
        if name in self._weights:
            return self._weights[name].shape
        tensor = self._inside.get(name)
        return None if tensor is None else tuple(tensor.dims)

    def put(self, name: str, value: np.ndarray) -> None:
        """Add a constant of a name that is not used yet."""
        import numpy as np
        from onnx import helper, numpy_helper

        value = np.asarray(value)
        if self._weights and value.nbytes >= ALWAYS_INSIDE:
            elem_type = helper.np_dtype_to_tensor_dtype(value.dtype)
            self._graph.input.append(helper.make_tensor_value_info(name, elem_type, value.shape))
            self._weights[name] = value
            return
        tensor = self._graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(value, name))
        self._inside[name] = tensor

    def once(self, label: str, value: np.ndarray, fresh: FreshNames) -> str:
        """Add a constant unless it was added under this label before; return its name."""
        if label not in self._named:
            self._named[label] = fresh.take(label)
            self.put(self._named[label], value)
        return self._named[label]

    def drop_unused_weights(self) -> None:
        """Forget the detached weights that no node reads any more, and their inputs."""
        used = {name for node in self._graph.node for name in input_names(node)}
        used |= {value.name for value in self._graph.output}
        unused = [name for name in self._weights if name not in used]
        for name in unused:
            del self._weights[name]
        if unused:
            kept = [value for value in self._graph.input if value.name not in unused]
            replace_items(self._graph.input, kept)
