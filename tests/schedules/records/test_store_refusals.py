"""What a record folder may not be, and what can go wrong with it."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import (
    RecordFolderError,
    RecordStore,
    folder_lock,
    read_records,
)
from autoglm_tvm.targets.errors import UserInputError
from tests.schedules.records.samples import (
    PHONE,
    configs,
    trial,
)

FILE = PHONE.file_name


@pytest.mark.parametrize("place", ["file", "file/deeper"])
def test_a_file_is_no_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserInputError, match="is a file; records need a folder") as caught:
        RecordStore(tmp_path / place)
    assert caught.value.where == str(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("place", ["/proc/1", "/proc/nothing", "/sys/records"])
def test_a_place_that_takes_no_folder(place: str) -> None:
    with pytest.raises(RecordFolderError, match=r"cannot write records there|removed") as caught:
        RecordStore(Path(place))
    assert caught.value.where == place
    assert caught.value.hint


def test_a_folder_that_vanishes_meanwhile(tmp_path: Path) -> None:
    store = RecordStore(tmp_path / "records")
    (tmp_path / "records/.lock").unlink()
    (tmp_path / "records").rmdir()
    with pytest.raises(RecordFolderError, match="removed meanwhile") as caught:
        store.append([trial(1)])
    assert caught.value.where == str(tmp_path / "records")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF])
def test_a_file_system_without_locks(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RecordStore(tmp_path).append([trial(1)])

    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder_lock.fcntl, "flock", refuse)
    with pytest.raises(RecordFolderError, match="no locks") as caught:
        RecordStore(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "records merge" in caught.value.hint
    # To read takes none.
    assert configs(read_records(tmp_path)) == [1]


def test_a_lock_that_is_never_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path)
    monkeypatch.setattr(folder_lock, "WAIT_SECONDS", 0.02)
    with (tmp_path / ".lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RecordFolderError, match="another process has kept") as caught:
            store.append([trial(1)])
        assert f"fuser -v {tmp_path}/.lock" in caught.value.hint
        with pytest.raises(RecordFolderError, match="another process has kept"):
            read_records(tmp_path)
    store.append([trial(1)])
    assert configs(read_records(tmp_path)) == [1]


def test_a_pipe_or_folder_among_the_files_is_left_alone(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    store = RecordStore(tmp_path)
    store.append([trial(1)])
    assert configs(store) == [1]


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = RecordStore(tmp_path)
    store.append([trial(1)])

    def refuse(path: Path, *_: object, **_options: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    for read in (store.refresh, lambda: RecordStore(tmp_path), lambda: read_records(tmp_path)):
        with pytest.raises(UserInputError, match="cannot read the records: Permission") as caught:
            read()
        assert caught.value.where == str(tmp_path / FILE)


def test_nothing_to_read(tmp_path: Path) -> None:
    assert len(read_records(tmp_path)) == 0
    with pytest.raises(UserInputError, match="no such record folder or file") as caught:
        read_records(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none")
    # To read leaves no trace.
    assert list(tmp_path.iterdir()) == []
