"""What ``--report`` writes: accuracy as JSON, the error of each layer as a picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.accuracy import AccuracyReport

Report = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="FILE",
        help="Write accuracy as FILE.json, or the layers as FILE.png (needs matplotlib); may be "
        "given twice.",
    ),
]
_JSON, _PICTURE = ".json", ".png"


def check_reports(reports: Sequence[Path], layers_measured: bool) -> None:
    """Refuse reports of an unknown kind, and pictures of what is not measured.

    Raises
    ------
    UserInputError
        A file is neither .json nor .png, or a picture is asked for without ``--per-layer``.
    MissingToolError
        matplotlib is not installed, and a picture is asked for.
    """
    for path in reports:
        if path.suffix.lower() not in (_JSON, _PICTURE):
            raise UserInputError(
                "a report is .json or .png",
                where=f"--report {path}",
                hint=f"name it {path.stem}.json or {path.stem}.png",
            )
        if path.suffix.lower() == _PICTURE:
            if not layers_measured:
                raise UserInputError(
                    "a picture shows the error of each layer, which is not measured",
                    where=f"--report {path}",
                    hint="give --per-layer too",
                )
            from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib

            require_matplotlib(f"--report {path}", "a .json report needs nothing")


def report_contents(
    reports: Sequence[Path],
    content: Mapping[str, Any],
    accuracy: AccuracyReport | None,
    subject: str,
) -> list[tuple[Path, bytes | str]]:
    """Return each report with what is to be written to it.

    Parameters
    ----------
    content
        What JSON holds.
    accuracy
        With the layers to draw.
    subject
        The model and the recipe, for the picture's title.
    """
    from autoglm_tvm.compiler.quantization.sensitivity_chart import sensitivity_png

    layers = accuracy.layers if accuracy is not None else ()
    contents: list[tuple[Path, bytes | str]] = []
    for path in reports:
        if path.suffix.lower() == _PICTURE:
            contents.append(
                (path, sensitivity_png(layers, f"Error that each layer adds: {subject}"))
            )
        else:
            contents.append((path, json.dumps(content, indent=1, allow_nan=False) + "\n"))
    return contents
