"""Files that are replaced as one step."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autoglm_tvm.targets.locked_file import locked, write_atomically


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "devices.json"
    with locked(path):
        write_atomically(path, "größer")
        write_atomically(path, b"kept")
    assert path.read_bytes() == b"kept"
    assert {other.name for other in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_what_cannot_be_written_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "devices.json"
    write_atomically(path, "old")

    def full(_file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [other.name for other in tmp_path.iterdir()] == [path.name]
