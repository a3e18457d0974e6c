"""From an ONNX file to a quantized ONNX file, and what that costs: `autoglm-tvm quantize`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.quantize import refuse_quantized
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.quantization.accuracy import AccuracyReport
    from autoglm_tvm.compiler.quantization.quantize_model import QuantizedModel
    from autoglm_tvm.compiler.quantization.recipe import Recipe
    from autoglm_tvm.compiler.quantization.search_exceptions import Score, SearchResult


@dataclass(frozen=True)
class QuantizedOnnx:
    """A quantized model in memory, and what was measured of it.

    Attributes
    ----------
    quantized
        The Q/DQ model and the recipe that made it, with the exceptions that were found.
    accuracy
        Against the float model on held-out inputs; None where no data was given.
    search
        How exceptions were searched; None where they were not.
    """

    quantized: QuantizedModel
    accuracy: AccuracyReport | None
    search: SearchResult | None

    @property
    def model(self) -> ReadModel:
        """The quantized model."""
        return self.quantized.model

    @property
    def recipe(self) -> Recipe:
        """The recipe, with the exceptions that were found."""
        return self.quantized.recipe

    def write(self, path: str | Path) -> None:
        """Write the quantized model as one ONNX file, whole or not at all.

        Raises
        ------
        UserInputError
            The file cannot be written, or would be larger than 2 GB.
        """
        from autoglm_tvm.compiler.quantization.write_model import write_model

        write_model(self.model, path)

    def recipe_text(self, model: str) -> str:
        """Return the recipe with its exceptions as YAML; comments say what was measured.

        Parameters
        ----------
        model
            The model's file name.
        """
        from autoglm_tvm.compiler.quantization.found_recipe import recipe_text

        return recipe_text(self.recipe, self.search, self.accuracy, model)

    def to_json(self) -> dict[str, Any]:
        """What ``autoglm-tvm quantize --json`` prints."""
        return {
            "recipe": self.quantized.recipe.to_json(),
            "nodes": dict(self.quantized.precisions),
            "accuracy": None if self.accuracy is None else self.accuracy.to_json(),
            "search": None if self.search is None else self.search.to_json(),
            "notes": list(self.quantized.notes),
        }


def quantize_onnx(
    model: str | Path | onnx.ModelProto,
    recipe: str | Path | Recipe = "int8",
    calibration: Any = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    limit: int | None = None,
    per_layer: bool = False,
    target_drop: float | None = None,
    score: Score | None = None,
    progress: Callable[[str], None] | None = None,
) -> QuantizedOnnx:
    """Quantize an ONNX model by a recipe and measure what it costs.

    Parameters
    ----------
    model
        A float model: a path, or a model in memory.
    recipe
        A recipe, the name of a built-in one, or the path of a YAML file.
    calibration
        Inputs, part of which are held out to measure on: see `calibration_data`. None where the
        recipe needs none; nothing is measured then.
    shapes
        Shape for each input whose dimensions are to be fixed.
    limit
        Take at most so many inputs.
    per_layer
        Measure the error that each layer adds too.
    target_drop
        Add exceptions to the recipe until no more than this is lost: see `search_exceptions`.
    score
        What is lost, for a task that `search_exceptions` does not know.
    progress
        Called with what is being done.

    Raises
    ------
    UserInputError
        The model, the recipe or the calibration data is wrong, or one does not fit the other.
    CheckFailedError
        Something becomes NaN or Inf, or the target cannot be met.
    """
    from autoglm_tvm.compiler.quantization.by_recipe import quantize_by_recipe
    from autoglm_tvm.compiler.quantization.calibration_data import calibration_data
    from autoglm_tvm.compiler.quantization.recipe import load_recipe

    tell = progress or (lambda _text: None)
    chosen = load_recipe(recipe) if isinstance(recipe, (str, Path)) else recipe
    if target_drop is not None and not 0 <= target_drop < 1:
        raise UserInputError(
            f"a drop of {target_drop} is nothing to aim at",
            where="--target-drop",
            hint="give 0.01 for one decision in a hundred, or 1 % off in cosine",
        )
    tell("reading")
    graph = read(model, shapes)
    refuse_quantized(graph)
    data = None
    if calibration is not None:
        network = graph.proto.graph
        data = calibration_data(calibration, graph.inputs, limit=limit, graph=network)
    result = quantize_by_recipe(
        graph,
        chosen,
        data,
        per_layer=per_layer,
        target_drop=target_drop,
        score=score,
        progress=progress,
    )
    return QuantizedOnnx(result.quantized, result.accuracy, result.search)
