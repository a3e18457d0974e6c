"""Replacing a folder as one step, where nothing goes wrong, and where the user or the disk is."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from autoglm_tvm.artifacts import atomic_folder
from autoglm_tvm.artifacts.atomic_folder import replace_folder
from autoglm_tvm.targets.errors import UserInputError
from tests.small_disk import run_on_disk

MARK = "manifest.json"


def _write(directory: Path, content: str, *names: str) -> None:
    with replace_folder(directory, owned_if=MARK) as work:
        for name in (MARK, *names):
            (work / name).write_text(content, encoding="utf-8")


def _tree(folder: Path) -> dict[str, str | None]:
    """Every file and folder below a folder, hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_text("utf-8") if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    _write(tmp_path / "a/b", "new", "more")
    assert _tree(tmp_path) == {
        "a": None,
        "a/b": None,
        "a/b/manifest.json": "new",
        "a/b/more": "new",
    }
    assert (tmp_path / "a/b").stat().st_mode & 0o777 == 0o755


def test_an_old_folder_is_replaced_whole(tmp_path: Path) -> None:
    _write(tmp_path / "b", "old", "only-in-old")
    _write(tmp_path / "b", "new", "only-in-new")
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "new", "b/only-in-new": "new"}


def test_the_old_folder_is_there_until_the_end(tmp_path: Path) -> None:
    _write(tmp_path / "b", "old")
    with replace_folder(tmp_path / "b", owned_if=MARK) as work:
        (work / MARK).write_text("new")
        assert (tmp_path / "b" / MARK).read_text() == "old"
        assert work.parent == tmp_path
        assert work.name.startswith(".")
    assert (tmp_path / "b" / MARK).read_text() == "new"


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    _write(tmp_path / "b", "new")
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "new"}


def test_a_relative_path_is_meant_from_where_the_block_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with replace_folder(Path("b"), owned_if=MARK) as work:
        os.chdir("elsewhere")
        (work / MARK).touch()
    assert (tmp_path / "b" / MARK).is_file()


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").write_text("cat")
    before = _tree(tmp_path)
    with pytest.raises(UserInputError, match="no bundle") as caught:
        _write(tmp_path / "photos", "new")
    assert caught.value.where == str(tmp_path / "photos")
    assert "-o" in caught.value.hint
    assert _tree(tmp_path) == before


@pytest.mark.parametrize("kind", ["file", "dangling link", "link to a file"])
def test_something_else_in_the_way_is_left_alone(kind: str, tmp_path: Path) -> None:
    goal = tmp_path / "goal"
    if kind == "file":
        goal.write_text("text")
    else:
        (tmp_path / "file").write_text("text")
        goal.symlink_to(tmp_path / ("nowhere" if kind == "dangling link" else "file"))
    before = _tree(tmp_path)
    with pytest.raises(UserInputError, match="a file of this name exists"):
        _write(goal, "new")
    assert _tree(tmp_path) == before
    assert goal.is_symlink() == (kind != "file")


def test_a_link_to_an_old_folder_is_followed(tmp_path: Path) -> None:
    _write(tmp_path / "disk/real", "old")
    link = tmp_path / "link"
    link.symlink_to("disk/real")
    _write(link, "new")
    assert link.is_symlink()
    assert _tree(tmp_path / "disk") == {"real": None, "real/manifest.json": "new"}
    assert _names(tmp_path) == ["disk", "link"]


@pytest.mark.parametrize("parent", ["file", "file/deeper", "/proc/1", "/dev/null", "/sys/none"])
def test_a_parent_that_takes_no_folder(parent: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    goal = tmp_path / parent / "bundle"
    with pytest.raises(UserInputError, match="cannot write there") as caught:
        _write(goal, "new")
    assert caught.value.where == str(goal)
    assert caught.value.exit_code == 2
    assert _names(tmp_path) == ["file"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match="cannot write there"):
        _write(tmp_path / ("n" * 300), "new")
    assert _tree(tmp_path) == {}


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), OSError(5, "mine")])
def test_an_exception_in_the_block_changes_nothing(error: BaseException, tmp_path: Path) -> None:
    _write(tmp_path / "b", "old")

    def fill() -> None:
        with replace_folder(tmp_path / "b", owned_if=MARK) as work:
            (work / MARK).write_text("new")
            raise error

    with pytest.raises(type(error)) as caught:
        fill()
    assert caught.value is error
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "old"}


@pytest.mark.parametrize("name", ["b", "b[1]", "*", "b c'\""])
def test_what_a_killed_run_left_is_removed(name: str, tmp_path: Path) -> None:
    _write(tmp_path / name, "old")
    _write(tmp_path / "other", "old")
    with replace_folder(tmp_path / name, owned_if=MARK) as work:
        left = work.name
    for abandoned in (left, f".{name}.new-00000000"):
        (tmp_path / abandoned / "sub").mkdir(parents=True)
        (tmp_path / abandoned / "file").touch()
    (tmp_path / ".other.new-00000000").mkdir()
    _write(tmp_path / name, "new")
    assert _names(tmp_path) == sorted([".other.new-00000000", name, "other"])


def test_a_folder_in_use_by_another_run_is_not_removed(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "b", owned_if=MARK) as first:
        (first / MARK).write_text("first")
        _write(tmp_path / "b", "second")
        assert (first / MARK).read_text() == "first"
        assert (tmp_path / "b" / MARK).read_text() == "second"
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "first"}


def test_a_folder_that_another_run_took_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its making and its locking another run may have removed it."""
    made = []

    def make_and_lose_the_first(**where: str) -> str:
        path = real(**where)
        if not made:
            Path(path).rmdir()
        made.append(path)
        return path

    real = tempfile.mkdtemp
    monkeypatch.setattr(atomic_folder.tempfile, "mkdtemp", make_and_lose_the_first)
    _write(tmp_path / "b", "new")
    assert len(made) == 2
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "new"}


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, "cannot write there"),
        (errno.ENOSYS, "cannot swap two folders"),
    ],
)
def test_an_error_of_the_disk_at_the_last_moment(
    number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "b", "old")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(atomic_folder, "_exchange", fail)
    with pytest.raises(UserInputError, match=says) as caught:
        _write(tmp_path / "b", "new")
    assert caught.value.where == str(tmp_path / "b")
    assert _tree(tmp_path) == {"b": None, "b/manifest.json": "old"}


_HELPERS = """
import json, os
from pathlib import Path
from autoglm_tvm.artifacts.atomic_folder import replace_folder
from autoglm_tvm.targets.errors import AutoglmError

disk = Path(folder)
goal = disk / "b"

def write(content, count=4, size=16384):
    with replace_folder(goal, owned_if="manifest.json") as work:
        for index in range(count):
            (work / str(index)).write_bytes(content * size)
        (work / "manifest.json").write_bytes(content)

def content():
    names = sorted(path.name for path in goal.iterdir())
    return names, sorted({path.read_bytes()[:1].decode() for path in goal.iterdir()})

def attempt():
    try:
        write(b"n")
        return [0, "", "", *content(), sorted(os.listdir(disk))]
    except AutoglmError as error:
        return [error.exit_code, error.what, error.where, *content(), sorted(os.listdir(disk))]
"""

_FILL = """
write(b"o")
results = []
for left in range(0, 100, 4):  # KiB
    (disk / "filler").write_bytes(b"")
    free = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(0, free.f_bavail * free.f_bsize - left * 1024)))
    results.append(attempt())
    if results[-1][0] == 0:
        break
print(json.dumps(results))
"""


def test_a_full_disk_leaves_the_old_folder(tmp_path: Path) -> None:
    """For real, with room for less and more of the new files."""
    results = run_on_disk(tmp_path, "size=256k", _HELPERS + _FILL)
    names = ["0", "1", "2", "3", "manifest.json"]
    *failed, last = results
    assert len(failed) > 10
    for result in failed:
        assert result[:2] == [2, "the disk is full; nothing was changed"]
        assert result[2:] == [str(tmp_path / "b"), names, ["o"], ["b", "filler"]]
    assert last == [0, "", "", names, ["n"], ["b", "filler"]]


_NO_INODE = """
write(b"o", count=1)
results = []
for left in range(5):
    for path in disk.glob("filler*"):
        path.unlink()
    for index in range(os.statvfs(disk).f_ffree - left):
        (disk / f"filler{index}").touch()
    results.append(attempt())
print(json.dumps(results))
"""


def test_a_disk_that_takes_no_more_files(tmp_path: Path) -> None:
    results = run_on_disk(tmp_path, "size=1m,nr_inodes=20", _HELPERS + _NO_INODE)
    assert len(results) == 5
    for result in results:
        assert result[:2] == [2, "the disk is full; nothing was changed"]
        assert result[3:5] == [["0", "manifest.json"], ["o"]]
        assert not [name for name in result[5] if name.startswith(".")]


_READ_ONLY = """
write(b"o")
subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
print(json.dumps(attempt()))
"""


def test_a_read_only_disk(tmp_path: Path) -> None:
    result = run_on_disk(tmp_path, "size=256k", _HELPERS + _READ_ONLY)
    assert result[:3] == [
        2,
        "cannot write there: Read-only file system",
        str(tmp_path / "b"),
    ]
    assert result[4:] == [["o"], ["b"]]
