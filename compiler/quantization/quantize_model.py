"""From a float model and a recipe to a Q/DQ model, step by step."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.infer import infer_shapes, tensor_types
from autoglm_tvm.compiler.frontend.model_constants import as_read_model, with_weights
from autoglm_tvm.compiler.quantization.assign import assign_precisions
from autoglm_tvm.compiler.quantization.bias_correction import channel_axes, correct_biases
from autoglm_tvm.compiler.quantization.channel_statistics import (
    ChannelStatistics,
    channel_statistics,
)
from autoglm_tvm.compiler.quantization.guards import check_constants
from autoglm_tvm.compiler.quantization.operators import (
    INT8_LAYERS,
    int8_problem,
    is_float32,
)
from autoglm_tvm.compiler.quantization.placement import place
from autoglm_tvm.compiler.quantization.prepare import prepare
from autoglm_tvm.compiler.quantization.ranges import Ranges, find_ranges
from autoglm_tvm.compiler.quantization.sensitive import sensitive_layers
from autoglm_tvm.compiler.quantization.smooth import smooth
from autoglm_tvm.compiler.quantization.write_qdq import write_qdq
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.quantization.recipe import Recipe
    from autoglm_tvm.compiler.read import ReadModel

    Progress = Callable[[str], None] | None


@dataclass(frozen=True)
class QuantizedModel:
    """A quantized model in Q/DQ form.

    Attributes
    ----------
    model
        Float operators between QuantizeLinear and DequantizeLinear, weights as integers; dynamic
        and 4-bit nodes as MatMulInteger and MatMulNBits; half precision between casts.
    original
        The float model.
    recipe
        What was asked for.
    precisions
        Node name -> precision, for the nodes that one was chosen for.
    notes
        What was done, and what could not be.
    """

    model: ReadModel
    original: ReadModel
    recipe: Recipe
    precisions: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CalibrationStatistics:
    """What calibration found for every node that could be quantized, whatever it will be.

    Attributes
    ----------
    prepared
        The float model, self-contained and prepared to be quantized (`prepare`, `smooth`).
    ranges
        Of all its tensors; None where there was no data.
    channels
        Of the inputs of its layers, for bias correction.
    notes
        What was done.
    """

    prepared: onnx.ModelProto
    ranges: Ranges | None
    channels: Mapping[str, ChannelStatistics]
    notes: tuple[str, ...]


def chosen_precisions(recipe: Recipe, model: ReadModel) -> dict[str, str]:
    """Return what `assign_precisions` does, of a recipe that changes something.

    Raises
    ------
    UserInputError
        The recipe does not fit the model, or leaves all of it as it is.
    """
    precisions = assign_precisions(recipe, model.proto, model.weights)
    types = tensor_types(model.proto.graph)
    if any(_is_changed(n, precisions.get(n.name, "fp32"), types) for n in model.proto.graph.node):
        return precisions
    wanted = {recipe.default, *(precision for _, precision in recipe.exceptions)} - {"fp32"}
    why, hint = "it leaves every node in fp32", "give it another default, such as int8"
    if wanted:
        why = f"no node of the model can become {' or '.join(sorted(wanted))}"
        hint = "int8 and int4 need layers in float32 with constant weights, fp16 nodes in float32"
    raise UserInputError(f"the recipe '{recipe.label}' finds nothing to quantize: {why}", hint=hint)


def _is_changed(node: onnx.NodeProto, precision: str, types: Mapping[str, Any]) -> bool:
    """Whether a node becomes another one by its precision."""
    if precision == "int8":
        # What is no layer computes on bytes between layers alone.
        return node.op_type in INT8_LAYERS
    if precision == "fp16":
        return any(is_float32(name, types) for name in (*node.input, *node.output))
    return precision != "fp32"


def calibrate(
    model: ReadModel,
    recipe: Recipe,
    data: CalibrationData | None,
    progress: Progress = None,
    *,
    int8: Collection[str],
) -> CalibrationStatistics:
    """Measure all that quantizing the model by the recipe's settings needs to know.

    Parameters
    ----------
    int8
        Names of the nodes that are ``int8``: only what they read is smoothed. The statistics serve
        every choice of precisions, but are best for this one.

    Raises as `quantize_model` does.
    """
    proto = with_weights(model)
    check_constants(proto)
    notes = prepare(proto)
    if data is None:
        return CalibrationStatistics(proto, None, {}, tuple(notes))
    able = _int8_able(proto)
    if recipe.int8.smooth is not None:
        _say(progress, "smooth activations")
        smoothed = [name for name in able if name in int8]
        notes += smooth(proto, smoothed, data, recipe.int8.smooth)
        infer_shapes(proto)
    tensors = place(proto, able).tensors
    ranges = find_ranges(proto, data, tensors, recipe.int8, progress)
    channels: Mapping[str, ChannelStatistics] = {}
    if recipe.int8.bias_correction:
        _say(progress, "calibrate: means of channels")
        channels = channel_statistics(proto, data, channel_axes(proto, able))
    return CalibrationStatistics(proto, ranges, channels, tuple(notes))


def quantize_model(
    model: ReadModel,
    recipe: Recipe,
    data: CalibrationData | None,
    progress: Progress = None,
    *,
    precisions: Mapping[str, str] | None = None,
    statistics: CalibrationStatistics | None = None,
) -> QuantizedModel:
    """Quantize a float model by a recipe.

    Parameters
    ----------
    model
        What `read` returned, with no quantized operator in it.
    data
        What ranges are measured on. Not needed where no node is ``int8``; half precision is then
        chosen without knowing what would overflow.
    progress
        Called with what is being done.
    precisions
        In place of what the recipe says of each node; as `assign_precisions` returns it.
    statistics
        What `calibrate` returned for this model, this recipe's settings and data; measured here
        without it.

    Raises
    ------
    UserInputError
        The recipe does not fit the model, or calibration data is missing or wrong.
    CheckFailedError
        An activation on the calibration data is NaN or infinite.
    """
    import onnx

    if precisions is None:
        precisions = chosen_precisions(recipe, model)
    chosen = {
        precision: [name for name, value in precisions.items() if value == precision]
        for precision in ("int8", "int8-dynamic", "int4", "fp16")
    }
    if data is None and statistics is None and _needs_data(model.proto, chosen["int8"]):
        raise UserInputError(
            f"the recipe '{recipe.label}' needs calibration data",
            hint="give it with --calibration: a folder of .npz files or images, file.py:function, "
            "or random; or choose --quantize int8-dynamic, which needs none",
        )
    if statistics is None:
        measured = data if chosen["int8"] or chosen["fp16"] else None
        statistics = calibrate(model, recipe, measured, progress, int8=chosen["int8"])
    proto = onnx.ModelProto()
    proto.CopyFrom(statistics.prepared)
    ranges = statistics.ranges
    notes = list(statistics.notes)
    if ranges is not None:
        left = sensitive_layers(proto, chosen["int8"], ranges, recipe.int8)
        notes += [f"{name} is fp16: its input would keep {db:.0f} dB" for name, db in left.items()]
        precisions = {**precisions, **dict.fromkeys(left, "fp16")}
        chosen["int8"] = [name for name in chosen["int8"] if name not in left]
        chosen["fp16"] = [*chosen["fp16"], *left]
    placement = place(proto, chosen["int8"])
    if placement.nodes and ranges is not None:
        _say(progress, "quantize to 8 bits")
        if recipe.int8.bias_correction:
            notes += correct_biases(proto, placement.nodes, statistics.channels, recipe.int8)
        write_qdq(proto, placement, ranges.chosen, recipe.int8)
        notes.append(f"{len(placement.nodes)} nodes compute on 8 bits")
    notes += _other_precisions(proto, chosen, recipe, ranges, progress)
    if data is not None and data.is_random:
        notes.append("calibrated on random numbers: the accuracy measured on them means nothing")
    quantized = as_read_model(model, proto, tuple(notes))
    return QuantizedModel(quantized, model, recipe, precisions, tuple(notes))


def _int8_able(proto: onnx.ModelProto) -> list[str]:
    """Return the names of all nodes that can be quantized to 8 bits."""
    types = tensor_types(proto.graph)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    return [node.name for node in proto.graph.node if not int8_problem(node, types, constants)]


def _needs_data(proto: onnx.ModelProto, int8: Collection[str]) -> bool:
    return any(node.name in int8 and node.op_type in INT8_LAYERS for node in proto.graph.node)


def _other_precisions(
    proto: onnx.ModelProto,
    chosen: Mapping[str, Collection[str]],
    recipe: Recipe,
    ranges: Ranges | None,
    progress: Progress,
) -> list[str]:
    """Rewrite the nodes that are neither static 8 bits nor float."""
    notes: list[str] = []
    if chosen["int8-dynamic"]:
        from autoglm_tvm.compiler.quantization.dynamic import to_dynamic

        _say(progress, "quantize to 8 bits with dynamic ranges")
        notes += to_dynamic(proto, chosen["int8-dynamic"], recipe.int8)
    if chosen["int4"]:
        from autoglm_tvm.compiler.quantization.int4 import to_int4

        _say(progress, "quantize to 4 bits")
        notes += to_int4(proto, chosen["int4"], recipe.int4)
    if chosen["fp16"]:
        from autoglm_tvm.compiler.quantization.half import to_half

        _say(progress, "to half precision")
        notes += to_half(proto, chosen["fp16"], None if ranges is None else ranges.seen)
    return notes


def _say(progress: Progress, text: str) -> None:
    if progress is not None:
        progress(text)
