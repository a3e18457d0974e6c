"""NaN and infinity: find the first layer that makes one, before anything is built on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import describe
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.quantization.unoptimised_session import UnoptimisedSession, with_outputs
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.read import ReadModel

#: Bytes of intermediate tensors that one run of the graph returns.
_PIECE_BYTES = 256 << 20
#: Operators whose constants are weights; elsewhere infinity is a mask or an open end of a range.
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization")


def check_finite(
    model: ReadModel, data: Iterable[Mapping[str, np.ndarray]], label: str = ""
) -> None:
    """Refuse a model some tensor of which is NaN, or infinite where its inputs are not.

    An infinity that a constant or an input brings in, as masks do, may be passed on; NaN may not.

    Parameters
    ----------
    data
        Inputs of runs, by name; only floats are looked at.
    label
        What the model is called in the message.

    Raises
    ------
    CheckFailedError
        With the first layer that makes such a value, and what to do.
    UserInputError
        ONNX Runtime refuses the model, or the data.
    """
    proto = with_weights(model)
    check_constants(proto, label)
    pieces = list(_pieces(proto))
    for number, sample in enumerate(data):
        _check_sample(proto, pieces, sample, f"sample {number}", label)


def check_constants(proto: onnx.ModelProto, label: str = "") -> None:
    """Refuse constants of NaN, and weights of infinity.

    Raises
    ------
    UserInputError
        With the layer that reads the constant.
    """
    import numpy as np
    from onnx import numpy_helper

    readers: dict[str, onnx.NodeProto] = {}
    weights: set[str] = set()
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, node)
        if node.op_type in _WEIGHTED and not node.domain:
            weights.update(node.input)
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype.kind != "f":
            continue
        bad = np.isnan(value) if tensor.name not in weights else ~np.isfinite(value)
        if bad.any():
            reader = readers.get(tensor.name)
            layer = describe(reader) if reader is not None else "nothing"
            raise UserInputError(
                f"constant {tensor.name!r} has {np.count_nonzero(bad)} values of {value.size} that "
                f"are NaN or infinite; {layer} reads it",
                where=label,
                hint="export the model again from a checkpoint that was trained without overflow",
            )


def _check_sample(
    proto: onnx.ModelProto,
    pieces: Sequence[UnoptimisedSession],
    sample: Mapping[str, np.ndarray],
    which: str,
    label: str,
) -> None:
    state = _States({**_infinite_constants(proto), **sample})
    for piece in pieces:
        for name, value in piece.run(sample).items():
            state.look(name, value)
    for node in proto.graph.node:
        for name in node.output:
            problem = state.problem(node, name)
            if problem:
                raise CheckFailedError(
                    f"{describe(node)} makes {problem} in tensor {name!r} on {which}",
                    where=label,
                    hint=_hint(node, problem, state.half),
                )


def _infinite_constants(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """The constants that hold infinity; NaN is refused before."""
    import numpy as np
    from onnx import numpy_helper

    values = ((t.name, numpy_helper.to_array(t)) for t in proto.graph.initializer)
    return {name: v for name, v in values if v.dtype.kind == "f" and np.isinf(v).any()}


def _hint(node: onnx.NodeProto, problem: str, half: set[str]) -> str:
    if half.intersection(node.output):
        return (
            f'keep this layer in float32: exceptions: {{"{node.name}": fp32}} in the recipe, or '
            "give calibration data, so that layers that overflow are found"
        )
    return (
        "look at this sample's inputs, and at the layer's weights: the model itself gives "
        f"{problem} in float32"
    )


class _States:
    """Which tensors of a run are finite."""

    def __init__(self, sample: Mapping[str, np.ndarray]) -> None:
        self._infinite: set[str] = set()
        self._nan: set[str] = set()
        self.half: set[str] = set()
        for name, value in sample.items():
            self.look(name, value)

    def look(self, name: str, value: np.ndarray) -> None:
        """Remember what is not finite in a tensor."""
        import numpy as np

        if value.dtype.kind != "f":
            return
        if value.dtype == np.float16:
            self.half.add(name)
        if not np.isfinite(value).all():
            (self._nan if np.isnan(value).any() else self._infinite).add(name)

    def problem(self, node: onnx.NodeProto, name: str) -> str:
        """Say what a node makes that its inputs do not have: NaN, or infinity; or nothing."""
        if name in self._nan:
            return "NaN"
        if name in self._infinite and not self._infinite.intersection(node.input):
            return "infinity"
        return ""


def _pieces(proto: onnx.ModelProto) -> Iterator[UnoptimisedSession]:
    """Yield sessions that return some of the graph's float tensors, together all of them."""
    import onnx

    floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
    types = tensor_types(proto.graph)
    names: list[str] = []
    size = 0
    for node in proto.graph.node:
        for name in node.output:
            found = types.get(name)
            if found is None or found.tensor_type.elem_type not in floats:
                continue
            names.append(name)
            size += _bytes(found)
            if size > _PIECE_BYTES:
                yield _exposed(proto, names)
                names, size = [], 0
    if names:
        yield _exposed(proto, names)


def _bytes(found: onnx.TypeProto) -> int:
    from math import prod

    return 8 * prod(dim or 1 for dim in static_shape(found) or ())


def _exposed(proto: onnx.ModelProto, names: Sequence[str]) -> UnoptimisedSession:
    return UnoptimisedSession(with_outputs(proto, names), names, "look for NaN and infinity")
