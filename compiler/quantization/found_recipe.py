"""The recipe that a search of exceptions found, and its file with what was measured."""

from __future__ import annotations

import glob
from dataclasses import replace
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.assign import assign_precisions
from autoglm_tvm.compiler.quantization.recipe import Recipe, recipe_yaml

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.accuracy import AccuracyReport
    from autoglm_tvm.compiler.quantization.search_exceptions import SearchResult
    from autoglm_tvm.compiler.read import ReadModel

#: Behind the name of a recipe that exceptions were added to.
SEARCHED = ", searched"


def found_recipe(recipe: Recipe, model: ReadModel, search: SearchResult) -> Recipe:
    """Return the recipe with an exception for each layer that was raised.

    Exceptions of the recipe that decide nothing any more are left out: a recipe must not
    contradict itself.
    """
    if not search.raised:
        return recipe
    added = tuple((glob.escape(name), search.precisions[name]) for name in search.raised)
    decided = set(search.raised)
    kept: list[tuple[str, str]] = []
    for item in reversed(recipe.exceptions):
        names = _matched(item, model)
        if names - decided:
            kept.insert(0, item)
        decided |= names
    return replace(recipe, name=f"{recipe.name}{SEARCHED}", exceptions=(*kept, *added))


def _matched(exception: tuple[str, str], model: ReadModel) -> set[str]:
    """Return the nodes that an exception gives its precision, were it alone."""
    _, precision = exception
    default = "fp32" if precision != "fp32" else "fp16"
    alone = assign_precisions(Recipe("", default, (exception,)), model.proto, model.weights)
    return {name for name, found in alone.items() if found == precision}


def recipe_text(
    recipe: Recipe, search: SearchResult | None, accuracy: AccuracyReport | None, model: str
) -> str:
    """Return the recipe as a YAML file whose comments say what was measured.

    Parameters
    ----------
    recipe
        What to write.
    search, accuracy
        Of a quantization by it.
    model
        The model's file name.
    """
    lines = [f"Of autoglm-tvm quantize {model}; use it with --recipe, or compile --quantize."]
    if search is not None and accuracy is not None:
        lines += _found(search, accuracy)
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + recipe_yaml(recipe)


def _found(search: SearchResult, accuracy: AccuracyReport) -> list[str]:
    lines = [
        f"Drop {search.drop:.4g} on {accuracy.inputs};",
        f"{search.drop_before:.4g} without the exceptions found; allowed {search.target:.4g}.",
        f"{search.evaluations} models were measured.",
    ]
    errors = {layer.name: layer for layer in search.layers}
    if search.raised:
        lines.append("Layers that went back to a higher precision, with their SQNR alone before:")
    for name in search.raised:
        error = errors[name]
        lines.append(f"  {error.sqnr_db:5.1f} dB  {error.precision} {error.op_type} {name}")
    return lines
