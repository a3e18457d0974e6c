"""Random inputs that a network can digest, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.tensor_spec import TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import onnx

# Sizes to try for symbolic dimensions other than the batch.
_SIZES = (64, 160, 512, 16, 7, 3, 1)
# Exclusive bound of random integers that index nothing: right for masks and for token types.
_MASK_BOUND = 2
# Operators that hand integers on unchanged on the way to where they are used as an index.
_PASSES_ON = ("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Clip")


def random_inputs(
    specs: Sequence[TensorSpec],
    graph: onnx.GraphProto,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Return one array for each input.

    Floats are standard normal. Integers are drawn from what they index: an input that reaches a
    ``Gather`` or ``OneHot`` gets all of its range, any other one 0 or 1.

    Parameters
    ----------
    specs
        The inputs to make.
    graph
        The graph that they go into; its tensors keep the inputs' names.
    seed
        Equal seeds give equal arrays, input by input.
    sizes
        Size of each symbolic dimension.
    """
    import ml_dtypes
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for position, spec in enumerate(specs):
        rng = np.random.default_rng((seed, position))
        shape = tuple(dim if isinstance(dim, int) else (sizes or {})[dim] for dim in spec.shape)
        dtype = np.dtype(spec.dtype)
        if dtype == np.bool_:
            values = rng.integers(0, 2, shape)
        elif np.issubdtype(dtype, np.integer):
            first = 1 if _is_divisor(spec.name, graph) else 0
            bound = min(_index_bound(spec.name, graph), np.iinfo(dtype).max)
            values = first + rng.integers(0, bound, shape)
        elif "int" in str(dtype):
            # ml_dtypes' integers of 4 and 2 bits, which numpy does not count as integers.
            limits = ml_dtypes.iinfo(dtype)
            values = rng.integers(int(limits.min), int(limits.max) + 1, shape)
        else:
            values = rng.standard_normal(shape)
        # An array of rank 0 becomes a plain number in arithmetic, which ONNX Runtime refuses.
        arrays[spec.name] = np.asarray(values).astype(dtype)
    return arrays


def symbolic_sizes(
    specs: Sequence[TensorSpec], bound: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Yield sizes for the symbolic dimensions that are worth a try, the likeliest first.

    A leading dimension is a batch and gets 2; images and sequences want to be large enough for what
    pools and strides do to them. ``bound`` are sizes that are known.
    """
    leading = {spec.shape[0] for spec in specs if spec.shape}
    symbols = [dim for spec in specs for dim in spec.shape if isinstance(dim, str)]
    free = [name for name in dict.fromkeys(symbols) if name not in bound]
    for size in _SIZES if free else (0,):
        yield {**bound, **{name: 2 if name in leading else size for name in free}}


def _index_bound(name: str, graph: onnx.GraphProto) -> int:
    """Return how many values the tensor may index, following it through reshapes and casts."""
    sizes = dict(_first_axis_sizes(graph))
    reached = {name}
    for node in graph.node:
        if not reached.intersection(node.input):
            continue
        if node.op_type in _PASSES_ON:
            reached.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in reached and node.input[0] in sizes:
            axis = next((item.i for item in node.attribute if item.name == "axis"), 0)
            if axis == 0 and sizes[node.input[0]] > 0:
                return sizes[node.input[0]]
        elif node.op_type == "OneHot" and node.input[0] in reached:
            depth = _scalar(graph, node.input[1])
            if depth is not None:
                return depth
    return _MASK_BOUND


def _is_divisor(name: str, graph: onnx.GraphProto) -> bool:
    """Whether the tensor divides another one: an integer division by zero ends the process."""
    return any(node.op_type in ("Div", "Mod") and node.input[1] == name for node in graph.node)


def _first_axis_sizes(graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
    for tensor in graph.initializer:
        if tensor.dims:
            yield tensor.name, tensor.dims[0]
    for info in [*graph.input, *graph.value_info]:
        dims = info.type.tensor_type.shape.dim
        if dims and dims[0].dim_value:
            yield info.name, dims[0].dim_value


def _scalar(graph: onnx.GraphProto, name: str) -> int | None:
    from onnx import numpy_helper

    for tensor in graph.initializer:
        if tensor.name == name:
            return int(numpy_helper.to_array(tensor).reshape(-1)[0])
    return None
