"""Convert an ONNX file to a peer's own format, once per model, shapes and version of the peer."""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from autoglm_tvm.artifacts.bundle import hash_file
from autoglm_tvm.rpc.cache import cached_folder
from benchmarks.peers.peer import PeerError, Task

_TIME_LIMIT = 300


def converted(package: str, task: Task, command: Callable[[Path], list[str]]) -> Path:
    """Return the folder in which ``command(model)``, run there, wrote what it makes of the model.

    Raises
    ------
    PeerError
        The converter failed; with its last words.
    """

    def fill(folder: Path) -> None:
        # Converters write beside the model, and name what they write by it.
        model = folder / "model.onnx"
        model.symlink_to(task.model.absolute())
        try:
            done = subprocess.run(
                command(model), cwd=folder, capture_output=True, text=True, timeout=_TIME_LIMIT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PeerError(f"the converter did not run: {error}") from error
        model.unlink()
        if done.returncode:
            raise PeerError(f"cannot convert the model: {_last_words(done.stdout + done.stderr)}")

    arguments = command(Path("model.onnx"))[1:]
    shapes = [f"{name}{array.shape}" for name, array in task.inputs.items()]
    key = f"{hash_file(task.model).sha256} {shapes} {version(package)} {arguments}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    return cached_folder(f"benchmark-peers/{package}-{digest}", fill)


def _last_words(text: str) -> str:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "it printed nothing")
