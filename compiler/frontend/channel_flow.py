"""Which channels of which tensors are one and the same thing, what they hold, and who needs them.

A channel runs through a network: a convolution makes it, additions and activations pass it on, the
next convolution reads it. All places of one channel are one class (union-find); it is dropped from
all of them or from none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import captured_names
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types

if TYPE_CHECKING:
    import numpy as np
    import onnx


#: Bytes of a detached weight: larger ones are mapped from their file, and stay on the disk.
_LARGEST_DETACHED = 64 << 20


@dataclass(frozen=True)
class Channels:
    """The channels of a tensor.

    Attributes
    ----------
    ids
        The class of each one; classes may have been merged since (`Flow.roots`).
    values
        What all elements of a channel are, float32; NaN where that is not known.
    axis
        The tensor's axis that counts them, from the end: -1 is the last.
    """

    ids: np.ndarray
    values: np.ndarray
    axis: int


class Flow:
    """What is known of the channels of a graph's tensors.

    Attributes
    ----------
    tensors
        Channels by tensor; others have none that could be dropped.
    """

    def __init__(self, graph: onnx.GraphProto, weights: Mapping[str, np.ndarray]) -> None:
        import numpy as np

        self._types = tensor_types(graph)
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._weights = weights
        self._arrays: dict[str, np.ndarray] = {}
        self._parents = np.zeros(0, np.int64)
        self._needed = np.zeros(0, bool)
        self.tensors: dict[str, Channels] = {}
        # Branches and the caller want tensors whole.
        self.kept = {value.name for value in graph.output}
        for node in graph.node:
            self.kept |= captured_names(node)

    def constant(self, name: str) -> np.ndarray | None:
        """The value of a constant of float32, which is not to be changed; None for others.

        Very large weights that lie outside of the graph are not looked at.
        """
        import numpy as np
        from onnx import TensorProto, numpy_helper

        if name in self._weights:
            found = self._weights[name]
            small = found.nbytes <= _LARGEST_DETACHED
            return found if small and found.dtype == np.float32 else None
        tensor = self._initializers.get(name)
        if tensor is None or tensor.data_type != TensorProto.FLOAT:
            return None
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(tensor)
        return self._arrays[name]

    def integers(self, name: str) -> list[int] | None:
        """The values of a constant of integers; None for others."""
        from onnx import numpy_helper

        tensor = self._initializers.get(name)
        value = None if tensor is None else numpy_helper.to_array(tensor)
        return None if value is None or value.dtype.kind != "i" else value.reshape(-1).tolist()

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """The shape of a tensor, as far as it is known."""
        return static_shape(self._types.get(name))

    def make(self, name: str, values: np.ndarray, axis: int) -> None:
        """A layer makes the tensor `name` with channels of its own."""
        import numpy as np

        start = len(self._parents)
        ids = np.arange(start, start + len(values))
        self._parents = np.concatenate([self._parents, ids])
        self._needed = np.concatenate([self._needed, np.zeros(len(ids), bool)])
        self.put(name, Channels(ids, values.astype(np.float32), axis))

    def put(self, name: str, channels: Channels) -> None:
        """Say what channels the tensor `name` has."""
        self.tensors[name] = channels
        if name in self.kept:
            self.need(channels.ids)

    def need(self, ids: np.ndarray) -> None:
        """Something reads these channels and cannot do without them."""
        self._needed[ids] = True

    def need_tensor(self, name: str) -> None:
        """Something reads all of a tensor's channels, if it has any."""
        if name in self.tensors:
            self.need(self.tensors[name].ids)

    def merge(self, left: np.ndarray, right: np.ndarray) -> None:
        """Channels at equal places of both arrays are the same."""
        import numpy as np

        while True:
            one, other = self.roots(left), self.roots(right)
            apart = one != other
            if not apart.any():
                return
            high = np.maximum(one, other)[apart]
            self._parents[high] = np.minimum(one, other)[apart]

    def roots(self, ids: np.ndarray) -> np.ndarray:
        """The one id that stands for each class."""
        while True:
            above = self._parents[ids]
            if (above == ids).all():
                return ids
            ids = above

    def kept_channels(self) -> dict[str, np.ndarray]:
        """For each tensor of which channels can be dropped, which ones stay: booleans.

        Each tensor keeps one at least: an empty one is no tensor that kernels know.
        """
        import numpy as np

        everyone = np.arange(len(self._parents))
        while True:
            needed = np.zeros(len(everyone), bool)
            needed[self.roots(everyone)[self._needed]] = True
            keep = {name: needed[self.roots(c.ids)] for name, c in self.tensors.items()}
            empty = [self.tensors[name].ids[:1] for name, kept in keep.items() if not kept.any()]
            if not empty:
                return {name: kept for name, kept in keep.items() if not kept.all()}
            self.need(np.concatenate(empty))
