"""Quantize by a recipe, measure what it cost, and search exceptions where a limit is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.accuracy import (
    SEEN_DATA,
    AccuracyReport,
    measure_accuracy,
)
from autoglm_tvm.compiler.quantization.assign import assign_precisions
from autoglm_tvm.compiler.quantization.found_recipe import found_recipe
from autoglm_tvm.compiler.quantization.quantize_model import (
    QuantizedModel,
    calibrate,
    chosen_precisions,
    quantize_model,
)
from autoglm_tvm.compiler.quantization.recipe import Recipe
from autoglm_tvm.compiler.quantization.search_exceptions import (
    Score,
    SearchResult,
    search_exceptions,
)
from autoglm_tvm.compiler.quantization.sensitivity import measure_layers
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.read import ReadModel

_GIVE_DATA = "give --calibration DATA: a folder, an .npz file or file.py:function"


@dataclass(frozen=True)
class ByRecipe:
    """A quantized model, and what was measured of it.

    Attributes
    ----------
    quantized
        The Q/DQ model; its recipe is the one that was found where exceptions were searched.
    accuracy
        Against the float model on held-out data; None where no data was given.
    search
        How exceptions were found; None where none were searched.
    """

    quantized: QuantizedModel
    accuracy: AccuracyReport | None
    search: SearchResult | None = None


def quantize_by_recipe(
    model: ReadModel,
    recipe: Recipe,
    data: CalibrationData | None,
    *,
    per_layer: bool = False,
    target_drop: float | None = None,
    score: Score | None = None,
    progress: Callable[[str], None] | None = None,
) -> ByRecipe:
    """Quantize a float model; part of the data calibrates, the rest measures.

    Parameters
    ----------
    model
        The float model.
    recipe
        Which node gets which precision.
    data
        Inputs of the model; None where the recipe needs none, and then nothing is measured. Of a
        single one, accuracy is measured on what was calibrated with, and the report says so.
    per_layer
        Measure the error that each layer adds too.
    target_drop
        Add exceptions to the recipe until no more than this is lost on the held-out inputs.
    score
        What is lost, where it is not decisions or direction: see `search_exceptions`.
    progress
        Called with what is being done.

    Raises
    ------
    UserInputError
        The recipe or the data does not fit the model, or something is to be measured without data.
    CheckFailedError
        Something becomes NaN or Inf by quantization, or the target cannot be met.
    """
    if data is None:
        _check_needs_no_data(per_layer, target_drop)
        return ByRecipe(quantize_model(model, recipe, None, progress), None)
    if target_drop is not None and data.is_random:
        raise UserInputError(
            "accuracy on random data means nothing, so no exceptions can be searched by it",
            where="--target-drop",
            hint=_GIVE_DATA,
        )
    tell = progress or (lambda _text: None)
    calibration, held_out = data.split()
    chosen = chosen_precisions(recipe, model)
    statistics = calibrate(model, recipe, calibration, progress, int8=_int8(chosen))
    quantized = quantize_model(
        model, recipe, calibration, progress, precisions=chosen, statistics=statistics
    )

    def quantized_to(precisions: Mapping[str, str]) -> ReadModel:
        return quantize_model(
            model, recipe, calibration, precisions=precisions, statistics=statistics
        ).model

    def searched(precisions: Mapping[str, str], target: float) -> SearchResult:
        return search_exceptions(
            model, precisions, quantized_to, held_out, target, score=score, progress=tell
        )

    search, layers = None, ()
    if target_drop is not None:
        search = searched(quantized.precisions, target_drop)
        layers, more = search.layers, bool(search.raised)
        while more:
            found = found_recipe(recipe, model, search)
            chosen = assign_precisions(found, model.proto, model.weights)
            # The recipe that is found must do alone what was measured: what is not 8 bits any more
            # is not smoothed any more.
            statistics = calibrate(model, recipe, calibration, progress, int8=_int8(chosen))
            again = searched(search.precisions, target_drop)
            search, more = _joined(search, again), bool(again.raised)
        quantized = quantize_model(
            model,
            found_recipe(recipe, model, search),
            calibration,
            precisions=chosen,
            statistics=statistics,
        )
    tell("measuring accuracy")
    accuracy = measure_accuracy(model, quantized.model, held_out)
    if len(data) == 1:
        accuracy = replace(accuracy, held_out=False)
        note = f"calibration data is one run: accuracy is {SEEN_DATA}; give more runs"
        quantized = replace(quantized, notes=(*quantized.notes, note))
    if per_layer and not layers:
        layers = measure_layers(model, quantized.precisions, quantized_to, held_out, tell)
    return ByRecipe(quantized, accuracy.with_layers(layers), search)


def _int8(precisions: Mapping[str, str]) -> list[str]:
    return [name for name, precision in precisions.items() if precision == "int8"]


def _joined(first: SearchResult, again: SearchResult) -> SearchResult:
    """Return a search and the one that went on where it ended as one search."""
    raised = tuple(dict.fromkeys((*first.raised, *again.raised)))
    evaluations = first.evaluations + again.evaluations
    return replace(
        first,
        precisions=again.precisions,
        raised=raised,
        drop=again.drop,
        evaluations=evaluations,
    )


def _check_needs_no_data(per_layer: bool, target_drop: float | None) -> None:
    for asked, option in ((per_layer, "--per-layer"), (target_drop is not None, "--target-drop")):
        if asked:
            raise UserInputError(
                "accuracy cannot be measured without inputs", where=option, hint=_GIVE_DATA
            )
