"""Compare two forms of a model by running both in onnxruntime on the same random inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.dtypes import numpy_dtype
from autoglm_tvm.compiler.frontend.graph import initializer_names, walk_nodes
from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime

if TYPE_CHECKING:
    import numpy as np
    import onnx

#: onnxruntime 1.23 reads IR version 11 at most, and 10 holds all that is compiled.
NEWEST_IR = 10
#: The sizes at which symbolic dimensions are tried: networks of images often need 32.
SYMBOLIC_SIZES = (8, 32)
#: Models with more weights or inputs than this many bytes are not run: it would cost too much.
LARGEST_RUN = 512 * 2**20
#: Both forms run unfused on the same kernels, so what differs is rounding of folded constants.
RELATIVE_TOLERANCE = {"float16": 1e-2, "bfloat16": 5e-2, "float32": 1e-3, "float64": 1e-6}
#: Operators whose result is not a function of their inputs.
RANDOM = (
    "Bernoulli",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
)


@dataclass(frozen=True)
class Comparison:
    """What running both forms said.

    Attributes
    ----------
    difference
        How the results differ; None where they are the same or were not compared.
    not_compared
        Why the two were not compared; None where they were.
    """

    difference: str | None = None
    not_compared: str | None = None


def compare(
    before: onnx.ModelProto, after: onnx.ModelProto, weights: Mapping[str, np.ndarray]
) -> Comparison:
    """Run `before` and `after` on the same random inputs and compare their outputs."""
    if any(node.op_type in RANDOM for _, node in walk_nodes(before.graph)):
        return Comparison(not_compared="the model draws random numbers")
    if _divides_integers(before):
        return Comparison(not_compared="it divides integers, and random ones may be zero")
    result = Comparison()
    for size in SYMBOLIC_SIZES:
        result = _compare_at(size, before, after, weights)
        if result.not_compared is None:
            break
    return result


def _divides_integers(model: onnx.ModelProto) -> bool:
    """Whether a divisor is an integer known only at run time: onnxruntime dies of a zero there."""
    types = tensor_types(model.graph)
    constants = initializer_names(model.graph)
    for _, node in walk_nodes(model.graph):
        if node.op_type in ("Div", "Mod") and node.input[1] not in constants:
            known = types.get(node.input[1])
            if known is None or numpy_dtype(known.tensor_type.elem_type).kind in "iu":
                return True
    return False


def _compare_at(
    size: int, before: onnx.ModelProto, after: onnx.ModelProto, weights: Mapping[str, np.ndarray]
) -> Comparison:
    feeds = _random_feeds(before, weights, size)
    if feeds is None:
        return Comparison(not_compared=f"over {LARGEST_RUN >> 20} MB, or an input of unknown rank")
    try:
        expected = _run(before, feeds)
    except Exception as err:
        return Comparison(not_compared=f"onnxruntime refuses the model: {_first_line(err)}")
    try:
        actual = _run(after, feeds)
    except Exception as err:
        return Comparison(f"onnxruntime refuses its result: {_first_line(err)}")
    for value, left, right in zip(before.graph.output, expected, actual, strict=True):
        if not _close(left, right):
            return Comparison(f"it changed the values of output '{value.name}'")
    return Comparison()


def for_onnxruntime(model: onnx.ModelProto) -> bytes:
    """Serialise `model` with an IR version that every supported onnxruntime takes.

    onnx writes newer versions than onnxruntime reads; what they added is not in models that can be
    compiled. `model` is not changed.
    """
    import onnx

    if model.ir_version <= NEWEST_IR:
        return model.SerializeToString()
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = NEWEST_IR
    return copy.SerializeToString()


def _first_line(err: Exception) -> str:
    return (str(err).strip().splitlines() or [type(err).__name__])[0][:200]


def _random_feeds(
    model: onnx.ModelProto, weights: Mapping[str, np.ndarray], size: int
) -> dict[str, np.ndarray] | None:
    import numpy as np

    if sum(array.nbytes for array in weights.values()) > LARGEST_RUN:
        return None
    generator = np.random.default_rng(0)
    feeds: dict[str, np.ndarray] = dict(weights)
    for value in model.graph.input:
        if value.name in weights:
            continue
        dims = static_shape(value.type)
        if dims is None:
            return None
        shape = [size if dim is None else dim for dim in dims]
        dtype = numpy_dtype(value.type.tensor_type.elem_type)
        if np.prod(shape, dtype=np.float64) * dtype.itemsize > LARGEST_RUN:
            return None
        if dtype.kind in "iub":
            # Indices and masks: small numbers are the likeliest to be in range.
            feeds[value.name] = generator.integers(0, 2, shape).astype(dtype)
        else:
            feeds[value.name] = generator.random(shape).astype(dtype)
    return feeds


def _run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list:
    onnxruntime = load_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        for_onnxruntime(model), sess_options=options, providers=["CPUExecutionProvider"]
    )
    wanted = {value.name for value in session.get_inputs()}
    used = {name: array for name, array in feeds.items() if name in wanted}
    return list(session.run([value.name for value in model.graph.output], used))


def _close(left: object, right: object) -> bool:
    import numpy as np

    if not isinstance(left, np.ndarray) or not isinstance(right, np.ndarray):
        return repr(left) == repr(right)
    if left.shape != right.shape or left.dtype != right.dtype:
        return False
    if left.dtype.kind in "iubSUO":
        return bool(np.array_equal(left, right))
    tolerance = RELATIVE_TOLERANCE.get(str(left.dtype), 1e-3)
    left64, right64 = left.astype(np.float64), right.astype(np.float64)
    finite = left64[np.isfinite(left64)]
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    return bool(np.allclose(right64, left64, rtol=0, atol=tolerance * scale + 1e-7, equal_nan=True))
