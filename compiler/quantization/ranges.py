"""Ranges of activations on calibration data.

One pass over the data finds the smallest and the largest value of every tensor inside ONNX Runtime,
so that no activation has to be kept. The methods that look at how values are distributed make a
second pass, which counts values into `BINS` bins; there the tensors come out in groups of at most
`GROUP_BYTES`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.infer import static_shape, tensor_types
from autoglm_tvm.compiler.quantization.float_session import FloatSession
from autoglm_tvm.compiler.quantization.thresholds import BINS, best_range
from autoglm_tvm.targets.errors import CheckFailedError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.quantization.recipe import Int8Settings

    Progress = Callable[[str], None] | None
    Range = tuple[float, float]

#: Tensors whose values are counted in the same pass together take at most this much memory.
GROUP_BYTES = 256 * 2**20
#: How much a run moves the moving average (Jacob et al., 2018, section 3.1, use 0.01 to 0.1).
AVERAGING = 0.1
#: Methods that need the distribution of values.
_BY_HISTOGRAM = ("percentile", "entropy", "mse")


@dataclass(frozen=True)
class Ranges:
    """What the tensors of a model hold on calibration data.

    Attributes
    ----------
    seen
        Smallest and largest value of every float tensor of the main graph, by name.
    magnitudes
        Mean magnitude of each of them.
    chosen
        The range to quantize to, of the tensors that were asked for.
    """

    seen: Mapping[str, Range]
    magnitudes: Mapping[str, float]
    chosen: Mapping[str, Range]


def find_ranges(
    proto: onnx.ModelProto,
    data: CalibrationData,
    tensors: Collection[str],
    settings: Int8Settings,
    progress: Progress = None,
) -> Ranges:
    """Return the ranges of all float tensors, and those to quantize `tensors` to.

    Parameters
    ----------
    proto
        A self-contained float model, not changed; shapes are inferred.
    data
        The runs to look at.
    tensors
        Names of the tensors to quantize.
    settings
        The method, and its percentile.

    Raises
    ------
    CheckFailedError
        A tensor is NaN or infinite in some run; the message names the layer that makes it.
    """
    names = _float_tensors(proto)
    extremes = _Extremes(proto, names)
    session = FloatSession(proto, extremes.outputs, extremes.nodes)
    for number, run in enumerate(data):
        if progress is not None:
            progress(f"calibrate: run {number + 1} of {len(data)}")
        extremes.update(session.run(run), number)
    seen, magnitudes = extremes.seen, extremes.magnitudes
    wanted = [name for name in names if name in tensors]
    if settings.method == "moving-average":
        return Ranges(seen, magnitudes, {name: extremes.average[name] for name in wanted})
    if settings.method not in _BY_HISTOGRAM:
        return Ranges(seen, magnitudes, {name: seen[name] for name in wanted})
    counts = _histograms(proto, data, {name: seen[name] for name in wanted}, extremes, progress)
    chosen = {name: best_range(counts[name], seen[name], settings) for name in wanted}
    return Ranges(seen, magnitudes, chosen)


class _Extremes:
    """Finds smallest and largest values with nodes appended to the model."""

    def __init__(self, proto: onnx.ModelProto, names: Sequence[str]) -> None:
        from onnx import helper

        self._names = names
        self._makers = {name: node for node in proto.graph.node for name in node.output}
        self._masks = _infinite_masks(proto)
        self.outputs: list[str] = []
        self.nodes: list[onnx.NodeProto] = []
        for position, name in enumerate(names):
            low, high, magnitudes, magnitude, size = (
                f"calibration_{what}_{position}"
                for what in ("low", "high", "magnitudes", "magnitude", "size")
            )
            self.nodes += [
                helper.make_node("ReduceMin", [name], [low], keepdims=0),
                helper.make_node("ReduceMax", [name], [high], keepdims=0),
                helper.make_node("Abs", [name], [magnitudes]),
                helper.make_node("ReduceMean", [magnitudes], [magnitude], keepdims=0),
                helper.make_node("Size", [name], [size]),
            ]
            self.outputs += [low, high, magnitude, size]
        self.seen: dict[str, Range] = {}
        self.average: dict[str, Range] = {}
        self.sizes: dict[str, int] = {}
        self._magnitudes: dict[str, list[float]] = {}

    @property
    def magnitudes(self) -> dict[str, float]:
        """Mean magnitude of each tensor; all runs count alike."""
        return {name: sum(values) / len(values) for name, values in self._magnitudes.items()}

    def update(self, results: Mapping[str, np.ndarray], number: int) -> None:
        """Take in one run's results."""
        values = iter(results.values())
        for name, low, high, magnitude, size in zip(
            self._names, values, values, values, values, strict=True
        ):
            if int(size) == 0:
                continue
            self._check(name, float(low), float(high), float(magnitude), number)
            self._magnitudes.setdefault(name, []).append(float(magnitude))
            found = (float(low), float(high))
            before, average = self.seen.get(name, found), self.average.get(name, found)
            self.seen[name] = (min(before[0], found[0]), max(before[1], found[1]))
            self.average[name] = (
                average[0] + AVERAGING * (found[0] - average[0]),
                average[1] + AVERAGING * (found[1] - average[1]),
            )
            self.sizes[name] = max(self.sizes.get(name, 0), int(size))

    def _check(self, name: str, low: float, high: float, magnitude: float, number: int) -> None:
        """Refuse NaN and infinity, other than the minus infinity of a mask on its way to Softmax.

        A maximum may pass over NaN, a mean does not.
        """
        import math

        masked = name in self._masks and low == -math.inf and high < math.inf
        if masked or all(map(math.isfinite, (low, high, magnitude))):
            return
        finite = math.isfinite(low) and math.isfinite(high)
        kind = "NaN" if finite or math.isnan(low) or math.isnan(high) else "infinity"
        maker = self._makers.get(name)
        layer = f"node '{maker.name}' ({maker.op_type})" if maker else f"input '{name}'"
        raise CheckFailedError(
            f"{layer} gives {kind} on calibration run {number}",
            where=f"tensor '{name}'",
            hint="mend the model or the calibration data: no precision can hold this",
        )


def _infinite_masks(proto: onnx.ModelProto) -> set[str]:
    """Return the tensors that get minus infinity from a constant, up to the Softmax that takes it.

    Masks of attention are written so, and are no defect.
    """
    import numpy as np
    import onnx
    from onnx import numpy_helper

    found: set[str] = set()
    for tensor in proto.graph.initializer:
        if (
            tensor.data_type == onnx.TensorProto.FLOAT
            and np.isneginf(numpy_helper.to_array(tensor)).any()
        ):
            found.add(tensor.name)
    for node in proto.graph.node:
        if node.op_type != "Softmax" and found.intersection(node.input):
            found.update(node.output)
    return found


def _float_tensors(proto: onnx.ModelProto) -> list[str]:
    """Return the float32 tensors of the main graph, in its order: no others are quantized."""
    import onnx

    types = tensor_types(proto.graph)
    names = [value.name for value in proto.graph.input]
    names += [name for node in proto.graph.node for name in node.output if name]
    return [
        name
        for name in dict.fromkeys(names)
        if name in types
        and types[name].tensor_type.elem_type == onnx.TensorProto.FLOAT
        and 0 not in (static_shape(types[name]) or ())
    ]


def _histograms(
    proto: onnx.ModelProto,
    data: CalibrationData,
    ranges: Mapping[str, Range],
    extremes: _Extremes,
    progress: Progress,
) -> dict[str, Any]:
    """Count the values of each tensor into bins over [-M, M], M its largest magnitude."""
    import numpy as np

    counts = {name: np.zeros(BINS, np.float64) for name in ranges}
    groups = list(_groups(list(ranges), extremes.sizes))
    for position, group in enumerate(groups):
        session = FloatSession(proto, group)
        for number, run in enumerate(data):
            if progress is not None:
                part = f", part {position + 1} of {len(groups)}" if len(groups) > 1 else ""
                progress(f"calibrate: distribution in run {number + 1} of {len(data)}{part}")
            for name, array in session.run(run).items():
                bound = max(map(abs, ranges[name])) or 1.0
                counts[name] += np.histogram(array, BINS, (-bound, bound))[0]
    return counts


def _groups(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    group: list[str] = []
    total = 0
    for name in names:
        size = 4 * sizes.get(name, 0)
        if group and total + size > GROUP_BYTES:
            yield group
            group, total = [], 0
        group.append(name)
        total += size
    if group:
        yield group
