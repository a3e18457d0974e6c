"""A bundle with a changed file is refused by hash, before anything of it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm_tvm.artifacts.bundle import hash_file, read_bundle
from autoglm_tvm.targets.errors import CheckFailedError, UserInputError
from tests.tiny_networks import linear_input

FILES = ("liblinear.so", "weights.bin", "report.json")


def _change_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "first byte changed": lambda path: _change_byte(path, 0),
    "last byte changed": lambda path: _change_byte(path, -1),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
    "a folder instead": lambda path: (path.unlink(), path.mkdir()),
}


def test_an_untouched_bundle_is_read(linear_bundle: Path) -> None:
    bundle = read_bundle(str(linear_bundle))
    assert sorted(bundle.manifest.files) == sorted(FILES)
    assert sorted(path.name for path in linear_bundle.iterdir()) == sorted(
        (*FILES, "manifest.json")
    )
    assert bundle.library_path == linear_bundle / "liblinear.so"
    assert bundle.weights_path.is_file()
    assert [array.shape for array in bundle.map_weights()] == [
        entry.shape for entry in bundle.manifest.weights
    ]


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 700_000)
    printed = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True)
    assert hash_file(path).sha256 == printed.stdout.split()[0]
    assert hash_file(path).bytes == 2_100_000


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_by_name(name: str, damage: str, own_bundle: Path) -> None:
    DAMAGES[damage](own_bundle / name)
    with pytest.raises(CheckFailedError) as caught:
        read_bundle(own_bundle)
    assert caught.value.where == str(own_bundle / name)
    assert "nothing was loaded" in caught.value.hint


@pytest.mark.parametrize(
    "damage", ["truncated", "emptied", "first byte changed", "last byte changed"]
)
def test_a_damaged_manifest_is_refused(damage: str, own_bundle: Path) -> None:
    path = own_bundle / "manifest.json"
    # The last character is a line's end, which means nothing in JSON.
    path.write_text(path.read_text("utf-8").rstrip(), "utf-8")
    read_bundle(own_bundle)
    DAMAGES[damage](path)
    with pytest.raises(CheckFailedError) as caught:
        read_bundle(own_bundle)
    assert caught.value.where == str(path)


def test_an_edited_manifest_is_refused(own_bundle: Path) -> None:
    """Also where the edit makes the hash of a changed file the right one."""
    path = own_bundle / "manifest.json"
    _change_byte(own_bundle / "weights.bin", 5)
    content = json.loads(path.read_text("utf-8"))
    content["files"]["weights.bin"]["sha256"] = hash_file(own_bundle / "weights.bin").sha256
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(CheckFailedError, match="manifest was changed"):
        read_bundle(own_bundle)


def test_bytes_that_are_no_text_are_no_manifest(own_bundle: Path) -> None:
    (own_bundle / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckFailedError, match="not a bundle's manifest"):
        read_bundle(own_bundle)


@pytest.mark.parametrize("kind", ["absent", "empty folder", "file", "folder for a manifest"])
def test_what_is_no_bundle_is_the_users_mistake(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "bundle"
    if kind == "file":
        path.touch()
    elif kind != "absent":
        path.mkdir()
    if kind == "folder for a manifest":
        (path / "manifest.json").mkdir()
    with pytest.raises(UserInputError, match="no bundle") as caught:
        read_bundle(path)
    assert caught.value.where == str(path)
    assert "autoglm-tvm compile" in caught.value.hint


_OPEN_ALL = """
import json, sys
from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.targets.errors import CheckFailedError
refused = []
for directory in sys.argv[2:]:
    try:
        open_bundle(directory)
    except CheckFailedError as error:
        refused.append(error.where)
before = sorted({"tvm", "ml_dtypes"}.intersection(sys.modules))
open_bundle(sys.argv[1])
mapped = open("/proc/self/maps").read()
print(json.dumps([refused, before, "tvm" in sys.modules, "liblinear.so" in mapped]))
"""


def test_nothing_of_a_damaged_bundle_is_loaded(linear_bundle: Path, tmp_path: Path) -> None:
    """A process that refused damaged bundles has not even imported what would load them."""
    damaged = []
    for name in FILES:
        for index, damage in enumerate(DAMAGES.values()):
            directory = shutil.copytree(linear_bundle, tmp_path / f"{name}-{index}")
            damage(directory / name)
            damaged.append(str(directory))
    done = subprocess.run(
        [sys.executable, "-c", _OPEN_ALL, linear_bundle, *damaged],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, before, imported_after, mapped_after = json.loads(done.stdout)
    assert [Path(path).parent for path in refused] == [Path(path) for path in damaged]
    assert before == []
    # The good bundle is loaded: the test would see it if a damaged one were.
    assert imported_after
    assert mapped_after


def test_outputs_are_named_as_in_the_onnx_file(linear_bundle: Path) -> None:
    bundle = read_bundle(linear_bundle)
    (array,) = bundle.check_inputs(linear_input())
    assert list(bundle.name_outputs([array])) == ["y"]
    with pytest.raises(ValueError, match="zip"):
        bundle.name_outputs([array, array])
