"""The files that `autoglm-tvm quantize` writes: checked before the work, written after it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.cli.accuracy_files import report_contents
from autoglm_tvm.compiler.quantization.write_model import check_outputs, model_bytes, write_files

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantize_onnx import QuantizedOnnx


class OutputFiles:
    """What is written, all of it when all else has succeeded."""

    def __init__(self, model: Path, recipe: Path | None, reports: Sequence[Path]) -> None:
        self.model = model
        self.recipe = recipe
        self.reports = tuple(reports)

    @staticmethod
    def of(
        source: Path,
        recipe_name: str,
        output: Path | None,
        recipe: Path | None,
        reports: Sequence[Path],
        target_drop: float | None,
        read: Sequence[Path],
    ) -> OutputFiles:
        """Choose names for what was not named.

        Parameters
        ----------
        read
            Files that must not be written over.

        Raises
        ------
        UserInputError
            Two of them are one file, one is what is read, or a folder is missing.
        """
        label = re.sub(r"[^A-Za-z0-9_.-]+", "_", Path(recipe_name).stem) or "quantized"
        model = output or Path(f"{source.stem}.{label}.onnx")
        if recipe is None and target_drop is not None:
            recipe = model.with_suffix(".recipe.yaml")
        check_outputs([model, *([recipe] if recipe else []), *reports], read)
        return OutputFiles(model, recipe, reports)

    def write(self, result: QuantizedOnnx, source: Path) -> list[Path]:
        """Write all of it, each file whole or not at all; return what was written."""
        from autoglm_tvm.compiler.quantization.found_recipe import SEARCHED

        # All that may fail for another reason than the disk comes before the first file.
        contents: list[tuple[Path, bytes | str]] = [(self.model, model_bytes(result.model))]
        if self.recipe is not None:
            contents.append((self.recipe, result.recipe_text(source.name)))
        recipe = result.recipe.name.removesuffix(SEARCHED)
        contents += report_contents(
            self.reports, result.to_json(), result.accuracy, f"{source.name}, recipe {recipe}"
        )
        write_files(contents)
        return [path for path, _ in contents]
