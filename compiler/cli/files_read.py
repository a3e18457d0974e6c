"""The files that a command reads, which nothing that it writes may replace."""

from __future__ import annotations

from pathlib import Path


def files_read(
    model: Path, recipe: str | None, calibration: str | None, score: str | None = None
) -> list[Path]:
    """Return the files behind a model, a recipe, calibration data and a score, as options say them.

    What is no file (the name of a recipe, ``random``) is nothing that could be written over.
    """
    found = [model]
    for source in (recipe, calibration, score):
        if source is None:
            continue
        file, separator, _function = source.rpartition(":")
        path = Path(file if separator and file.endswith(".py") else source)
        found += _runs(path) if path.is_dir() else [path] if path.is_file() else []
    return found


def _runs(folder: Path) -> list[Path]:
    """Return the calibration data in a folder."""
    from autoglm_tvm.compiler.quantization.images import SETTINGS_FILE, SUFFIXES

    suffixes = (".npz", *SUFFIXES)
    return [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes or path.name == SETTINGS_FILE
    ]
