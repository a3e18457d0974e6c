"""Options that several commands share, and how their text is read."""

from __future__ import annotations

import contextlib
import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np

Cpu = Annotated[str | None, typer.Option(help="Refine the preset: an LLVM CPU, such as cortex-x3.")]
Features = Annotated[
    str | None, typer.Option(help="Refine the preset: CPU features, such as +dotprod,-sve.")
]
Calibration = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="Inputs to measure ranges and accuracy on: a folder of .npz files or images, an .npz "
        "file, file.py:function, or `random` (its accuracy means nothing). A fifth is held out.",
    ),
]
PerLayer = Annotated[
    bool, typer.Option("--per-layer", help="Measure the error that each quantized layer adds.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def parse_shapes(options: Sequence[str]) -> dict[str, list[int | str]]:
    """Read ``NAME=1,3,224,224`` options; ``?`` or a word in place of a number stays symbolic.

    Raises
    ------
    UserInputError
        An option has another form, or names an input twice.
    """
    shapes: dict[str, list[int | str]] = {}
    for option in options:
        name, separator, text = option.rpartition("=")
        dims = [dim.strip() for dim in text.split(",")] if text else []
        if not separator or not name or any(not dim for dim in dims):
            raise UserInputError(
                f"--shape {option!r} is not of the form NAME=1,3,224,224",
                hint="give the input's name, =, and its dimensions with commas",
            )
        if name in shapes:
            raise UserInputError(f"--shape names {name!r} twice", hint="give each input once")
        shapes[name] = [_dimension(dim, option) for dim in dims]
    return shapes


def _dimension(text: str, option: str) -> int | str:
    if re.fullmatch(r"[+-]?[0-9]+", text):
        return int(text)
    if re.match(r"[+-]?\.?[0-9]", text):
        raise UserInputError(
            f"--shape {option!r} has the dimension {text!r}, which is no whole number",
            hint="give a whole number, or a word to keep the dimension symbolic",
        )
    return text


def load_inputs(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of an ``.npz`` file.

    Raises
    ------
    UserInputError
        There is no such file, or it is no ``.npz`` file of plain arrays.
    """
    import numpy as np

    hint = "write one with numpy.savez(path, **{input name: array})"
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise ValueError("this is a single array without a name (.npy)")
        with content:
            return {name: content[name] for name in content.files}
    except FileNotFoundError:
        raise UserInputError("there is no such file", where=str(path), hint=hint) from None
    except Exception as error:
        raise UserInputError(
            f"cannot read it as .npz: {str(error).splitlines()[0]}", where=str(path), hint=hint
        ) from error


def save_outputs(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays to an ``.npz`` file, whole or not at all.

    ``numpy.savez`` takes names as keyword arguments, so it cannot write an output called ``file``.

    Raises
    ------
    UserInputError
        The file cannot be written; one that was there before is untouched.
    """
    from numpy.lib.format import write_array

    # Packed in memory first: a device cannot be gone back in, as a zip file's writer does.
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                write_array(entry, array, allow_pickle=False)
    # A device, such as /dev/null, is written to and not replaced.
    replaces = path.is_file() or not path.exists()
    part = path.with_name(f".{path.name}.part") if replaces else path
    try:
        part.write_bytes(content.getvalue())
        if replaces:
            part.replace(path)
    except OSError as error:
        if replaces:
            with contextlib.suppress(OSError):
                part.unlink()
        raise UserInputError(
            f"cannot write the outputs: {error.strerror}",
            where=str(path),
            hint="name another file with -o",
        ) from error
