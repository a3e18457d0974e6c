"""Open a bundle: check every file by its hash, then check inputs and name outputs for a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.carried_types import carried, restored
from autoglm_tvm.artifacts.inputs import check_inputs
from autoglm_tvm.artifacts.manifest import (
    FILE_NAME,
    WEIGHTS_FILE_NAME,
    FileEntry,
    Manifest,
)
from autoglm_tvm.artifacts.weights import map_weights
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files were found to be what its manifest says."""

    directory: Path
    manifest: Manifest

    @property
    def library_path(self) -> Path:
        """The shared library."""
        return self.directory / self.manifest.library

    @property
    def weights_path(self) -> Path:
        """The file of constants."""
        return self.directory / WEIGHTS_FILE_NAME

    def map_weights(self) -> list[np.ndarray]:
        """Return memory-mapped views of the constants in calling order."""
        return map_weights(self.weights_path, self.manifest.weights)

    def check_inputs(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return what the library takes, in calling order; see `inputs.check_inputs`.

        Small types are as `carried_types` says.
        """
        return [carried(array) for array in check_inputs(self.manifest.inputs, inputs)]

    def name_outputs(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Pair what the library returned with the outputs' names in the ONNX file."""
        specs = self.manifest.outputs
        return {s.name: restored(array, s.dtype) for s, array in zip(specs, arrays, strict=True)}


def hash_file(path: Path) -> FileEntry:
    """Return size and SHA-256 of a file, read piece by piece."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return FileEntry(size, digest.hexdigest())


def read_bundle(directory: str | Path) -> Bundle:
    """Read a bundle's manifest and compare every file with it, before anything is loaded.

    Raises
    ------
    UserInputError
        There is no bundle.
    CheckFailedError
        A file is missing or is not the one that was written.
    """
    directory = Path(directory)
    path = directory / FILE_NAME
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        text = ""
    except OSError as error:
        raise UserInputError(
            f"this is no bundle: cannot read {FILE_NAME} ({error.strerror})",
            where=str(directory),
            hint="make one with: autoglm-tvm compile MODEL --target TARGET -o DIR",
        ) from error
    manifest = Manifest.from_json(text, str(path))
    for name in (manifest.library, WEIGHTS_FILE_NAME):
        if name not in manifest.files:
            raise CheckFailedError(
                f"the manifest has no hash of {name}", where=str(path), hint=_COMPILE_AGAIN
            )
    for name, expected in manifest.files.items():
        _check_file(directory / name, expected)
    return Bundle(directory, manifest)


_COMPILE_AGAIN = "compile the model again, or copy the whole bundle again; nothing was loaded"


def _check_file(path: Path, expected: FileEntry) -> None:
    hint = _COMPILE_AGAIN
    try:
        found = hash_file(path)
    except OSError as error:
        raise CheckFailedError(
            f"a file of the bundle cannot be read ({error.strerror})", where=str(path), hint=hint
        ) from error
    if found != expected:
        raise CheckFailedError(
            f"the file is not the one that was written: SHA-256 is {found.sha256[:16]}..., "
            f"the manifest says {expected.sha256[:16]}...",
            where=str(path),
            hint=hint,
        )
