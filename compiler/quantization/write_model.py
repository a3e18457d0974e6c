"""Write a quantized model as one ONNX file that needs nothing beside it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.equivalence import NEWEST_IR
from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.read import ReadModel


def model_bytes(model: ReadModel) -> bytes:
    """Return the model as an ONNX file's content; the same model gives the same bytes.

    Raises
    ------
    UserInputError
        It takes more than the 2 GB that one protobuf file can have.
    """
    proto = with_weights(model)
    # onnx writes newer versions than onnxruntime reads.
    proto.ir_version = min(proto.ir_version, NEWEST_IR)
    try:
        return proto.SerializeToString(deterministic=True)
    except Exception as error:
        # protobuf has an exception of its own for this, in another module for each implementation.
        raise UserInputError(
            "the quantized model takes more than the 2 GB that one ONNX file can have",
            hint="quantize it into a bundle instead: autoglm-tvm compile MODEL --quantize RECIPE",
        ) from error


def write_model(model: ReadModel, path: str | Path) -> None:
    """Write the model to a file, whole or not at all.

    Raises
    ------
    UserInputError
        The file cannot be written, or the model is too large for one.
    """
    write_files([(Path(path), model_bytes(model))])


def check_outputs(
    outputs: Sequence[Path], read: Sequence[Path] = (), bundle: Path | None = None
) -> None:
    """Refuse files that cannot be written, that are read, or that are one, before hours of work.

    Parameters
    ----------
    bundle
        A folder that is replaced, so that nothing else may be written into it.

    Raises
    ------
    UserInputError
        One is a folder, its folder does not exist or may not be written to, it is one of `read` or
        in `bundle`, or two are the same file.
    """
    inputs, seen = {path.resolve() for path in read}, set()
    for path in outputs:
        if bundle is not None and bundle.resolve() in (path.resolve(), *path.resolve().parents):
            raise UserInputError(
                "the bundle is written there, and nothing beside what it is made of",
                where=str(path),
                hint="name a file outside of the bundle",
            )
        if path.resolve() in inputs:
            raise UserInputError(
                "this file is read, so it is not written over",
                where=str(path),
                hint="name another one",
            )
        if path.resolve() in seen:
            raise UserInputError(
                "two things would be written to one file",
                where=str(path),
                hint="give each of them a file of its own",
            )
        seen.add(path.resolve())
        _check_writable(path)


def _check_writable(path: Path) -> None:
    folder = path.absolute().parent
    if path.is_dir():
        what, where = "this is a folder", path
    elif not folder.is_dir():
        what, where = "there is no such folder", path.parent
    elif not os.access(folder, os.W_OK):
        what, where = "this folder may not be written to", path.parent
    else:
        return
    raise UserInputError(
        f"{what}, so nothing can be written", where=str(where), hint="name a file elsewhere"
    )


def write_files(contents: Sequence[tuple[Path, bytes | str]]) -> None:
    """Replace files, each whole, and none where one of them cannot be written.

    Raises
    ------
    UserInputError
        A folder does not exist or cannot be written, or the disk is full; what was there before
        stands.
    """
    with staged_files(contents):
        pass


@contextlib.contextmanager
def staged_files(contents: Sequence[tuple[Path, bytes | str]]) -> Iterator[None]:
    """Write files beside their places, do what is inside of ``with``, and put them into place.

    Where that fails, what was there before stands. Raises as `write_files` does.
    """
    parts = [path.with_name(f".{path.name}.part") for path, _ in contents]
    try:
        for part, (path, content) in zip(parts, contents, strict=True):
            with _writing(path), part.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
        yield
        for part, (path, _) in zip(parts, contents, strict=True):
            with _writing(path):
                part.replace(path)
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserInputError(
            f"cannot write it: {error.strerror or error}",
            where=str(path),
            hint="name a file in a folder that exists and that you may write to",
        ) from error
