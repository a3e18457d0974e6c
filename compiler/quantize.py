"""Stage `quantize`: a float model by recipe, or one quantized already, becomes integers.

A recipe writes QuantizeLinear and DequantizeLinear (Q/DQ) around float operators: the form in which
the read stage hands on quantized models of every kind. Then the islands between them become integer
operators of standard ONNX.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.model_constants import as_read_model, with_weights
from autoglm_tvm.compiler.integer import IntegerModel, NodeExecution, lower_to_integers
from autoglm_tvm.compiler.integer.node_execution import FLOAT, HALF, refused, shares
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import Target
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.accuracy import AccuracyReport
    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.quantization.quantize_model import QuantizedModel
    from autoglm_tvm.compiler.quantization.recipe import Recipe
    from autoglm_tvm.compiler.read import ReadModel

_NO_HALF = "float16 weights; this CPU has no half arithmetic"


@dataclass(frozen=True)
class QuantizeRequest:
    """What `compile` was asked for.

    Attributes
    ----------
    recipe
        Which node gets which precision, and how.
    data
        Inputs to calibrate with, part of which is held out to measure accuracy; None where the
        recipe needs none.
    per_layer
        Whether to measure the error that each layer adds.
    """

    recipe: Recipe
    data: CalibrationData | None
    per_layer: bool = False


@dataclass(frozen=True)
class QuantizeResult:
    """What is imported, and how it came to be.

    Attributes
    ----------
    model
        What is imported.
    quantized
        The Q/DQ model that a recipe made; None where there was no recipe.
    source
        The Q/DQ model: that of the recipe, or what was read.
    nodes
        How each node of the Q/DQ model runs; empty where nothing is quantized.
    accuracy
        What the recipe cost; None where it was not measured.
    """

    model: ReadModel
    quantized: QuantizedModel | None
    source: ReadModel
    nodes: tuple[NodeExecution, ...]
    accuracy: AccuracyReport | None

    def summary(self) -> str:
        """Return what was quantized, what runs as integers and what does not, in several lines."""
        if not self.nodes and self.quantized is None:
            return "nothing is quantized"
        lines = [] if self.quantized is None else [f"recipe {self.quantized.recipe.name}"]
        for share in shares(self.nodes):
            part = share.of_multiply_adds
            work = "" if part is None else f", {part:.1%} of multiply-adds"
            lines.append(f"{share.runs}: {share.nodes} nodes{work}")
        lines += [str(group) for group in refused(self.nodes)]
        if self.accuracy is not None:
            lines.append(self.accuracy.summary())
        notes = () if self.quantized is None else self.quantized.notes
        return "\n".join([*lines, *(f"note: {note}" for note in notes)])

    def dump(self, folder: str | Path) -> None:
        """Write ``quantized.onnx``, ``integer.onnx``, ``nodes.txt`` and ``accuracy.json``.

        The first is the Q/DQ model; neither holds detached weights.
        """
        target = Path(folder)
        for name, model in (("quantized", self.source), ("integer", self.model)):
            content = model.proto.SerializeToString(deterministic=True)
            (target / f"{name}.onnx").write_bytes(content)
        lines = [f"{n.runs}\t{n.name}\t{n.op_type}\t{n.reason}".rstrip() for n in self.nodes]
        (target / "nodes.txt").write_text("\n".join([*lines, ""]), encoding="utf-8")
        if self.accuracy is not None:
            text = json.dumps(self.accuracy.to_json(), indent=1, sort_keys=True) + "\n"
            (target / "accuracy.json").write_text(text, encoding="utf-8")

    @cached_property
    def saved_sha256(self) -> str | None:
        """SHA-256 of the Q/DQ model that a recipe made, as `write_model` writes it."""
        if self.quantized is None:
            return None
        from autoglm_tvm.compiler.quantization.write_model import model_bytes

        try:
            return hashlib.sha256(model_bytes(self.source)).hexdigest()
        except UserInputError:
            # Too large for a file of its own: there is nothing to verify by.
            return None

    def to_json(self) -> dict[str, Any] | None:
        """What the manifest says of it; None where nothing is quantized."""
        if not self.nodes and self.quantized is None:
            return None
        recipe = None if self.quantized is None else self.quantized.recipe
        return {
            "recipe": None if recipe is None else recipe.name,
            "settings": None if recipe is None else recipe.to_json(),
            "model_sha256": self.saved_sha256,
            "nodes": [node.to_json() for node in self.nodes],
            "accuracy": None if self.accuracy is None else self.accuracy.to_json(),
            "notes": [] if self.quantized is None else list(self.quantized.notes),
        }


def chosen_recipe(
    recipe: str | Path | Recipe | None,
    calibration: Any,
    *,
    per_layer: bool,
    saved: str | Path | None = None,
) -> Recipe | None:
    """Return the recipe that was asked for, by its name, file or as it is; None without one.

    Parameters
    ----------
    saved
        Where what the recipe makes is to be written to.

    Raises
    ------
    UserInputError
        There is no such recipe, or something was given that is of use with a recipe alone.
    """
    if recipe is None:
        options = {
            "--calibration": calibration is not None,
            "--per-layer": per_layer,
            "--save-quantized": saved is not None,
        }
        lonely = [option for option, given in options.items() if given]
        if lonely:
            raise UserInputError(
                f"{lonely[0]} belongs to a recipe, and none is given",
                hint=f"add --quantize int8, or leave {lonely[0]} out",
            )
        return None
    if not isinstance(recipe, (str, Path)):
        return recipe
    from autoglm_tvm.compiler.quantization.recipe import load_recipe

    return load_recipe(recipe)


def quantize_request(
    model: ReadModel,
    recipe: Recipe | None,
    calibration: Any,
    *,
    limit: int | None = None,
    per_layer: bool = False,
) -> QuantizeRequest | None:
    """Return what the stage is asked for; None without a recipe.

    Parameters
    ----------
    limit
        Take at most so many inputs from the calibration data.

    Raises
    ------
    UserInputError
        The model is quantized already, or the calibration data does not fit its inputs.
    """
    if recipe is None:
        return None
    refuse_quantized(model)
    from autoglm_tvm.compiler.quantization.calibration_data import calibration_data

    data = None
    if calibration is not None:
        graph = model.proto.graph
        data = calibration_data(calibration, model.inputs, limit=limit, graph=graph)
    return QuantizeRequest(recipe, data, per_layer)


def quantize(
    model: ReadModel,
    target: Target,
    request: QuantizeRequest | None = None,
    progress: Callable[[str], None] | None = None,
) -> QuantizeResult:
    """Quantize by recipe where there is one, then turn Q/DQ islands into integer operators.

    Parameters
    ----------
    model
        What the read stage returned; with a recipe, a float model.
    target
        The machine to compile for: its instructions choose the sign of activations.
    request
        The recipe and the data to calibrate with; None compiles the model as it is.
    progress
        Called with what is being done, in a few words.

    Raises
    ------
    UserInputError
        A recipe is given for a model that is quantized already, or does not fit it.
    """
    quantized, accuracy, requantization = None, None, "float32"
    source = model
    if request is not None:
        refuse_quantized(model)
        quantized, accuracy = _by_recipe(model, request, progress)
        source, requantization = quantized.model, request.recipe.int8.requantization
    if progress is not None:
        progress("quantize: to integers")
    machine = machine_of(target)
    lowered = lower_to_integers(source, machine, requantization)
    if quantized is not None and not machine.half_arithmetic:
        lowered = _without_half_arithmetic(lowered)
    return QuantizeResult(lowered.model, quantized, source, lowered.nodes, accuracy)


def _without_half_arithmetic(lowered: IntegerModel) -> IntegerModel:
    """Keep what a recipe made half as weights of that type, and compute it in float32."""
    from autoglm_tvm.compiler.quantization.half_weights import compute_in_float32

    if not any(node.runs == HALF for node in lowered.nodes):
        return lowered
    proto = with_weights(lowered.model)
    notes = compute_in_float32(proto)
    if not notes:
        return lowered
    nodes = tuple(
        replace(node, runs=FLOAT, reason=node.reason or _NO_HALF) if node.runs == HALF else node
        for node in lowered.nodes
    )
    return IntegerModel(as_read_model(lowered.model, proto, tuple(notes)), nodes)


def refuse_quantized(model: ReadModel) -> None:
    """Refuse a recipe for a model that is quantized already.

    Raises
    ------
    UserInputError
        Naming the first such node.
    """
    if model.quantized is not None:
        raise UserInputError(
            "the model is quantized already, so it cannot be quantized once more",
            where=f"node '{model.quantized}'",
            hint="compile it without --quantize: what is quantized in it runs as integers; "
            "or give the float model",
        )


def _by_recipe(
    model: ReadModel, request: QuantizeRequest, progress: Callable[[str], None] | None
) -> tuple[QuantizedModel, AccuracyReport | None]:
    from autoglm_tvm.compiler.quantization.by_recipe import quantize_by_recipe

    def tell(text: str) -> None:
        if progress is not None:
            progress(f"quantize: {text}")

    found = quantize_by_recipe(
        model, request.recipe, request.data, per_layer=request.per_layer, progress=tell
    )
    return found.quantized, found.accuracy
