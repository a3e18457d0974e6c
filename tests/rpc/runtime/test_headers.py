"""The headers that TVM's wheel lacks."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from autoglm_tvm.rpc.cache import cache_root
from autoglm_tvm.rpc.runtime import header_download
from autoglm_tvm.rpc.runtime.header_download import TVM_FOLDER, read_members
from autoglm_tvm.rpc.runtime.headers import HEADERS, find_headers
from autoglm_tvm.rpc.runtime_libraries import package_folder
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError, UserInputError


def write_archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_the_wheel_still_lacks_them() -> None:
    """When upstream ships them, `headers.py` and `header_download.py` can go."""
    assert [name for name in HEADERS if (package_folder("tvm") / name).exists()] == []


def test_a_checkout_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=r"--tvm-source .*no source tree of TVM: it lacks"):
        find_headers(tmp_path)


def test_a_checkout_of_another_version(headers: Path) -> None:
    with pytest.raises(UserInputError, match=r"is not the one of TVM v0\.27\.0") as caught:
        find_headers(headers)
    assert "at tag v0.27.0" in caught.value.hint


def test_only_what_is_asked_for_leaves_the_archive(tmp_path: Path) -> None:
    archive = write_archive(
        tmp_path / "a.tar.gz",
        {f"{TVM_FOLDER}/include/a.h": b"a", f"{TVM_FOLDER}/../../b.h": b"b", "/etc/c.h": b"c"},
    )
    assert read_members(archive, ["include/a.h", "include/d.h"]) == {"include/a.h": b"a"}


def test_a_download_with_other_content_is_not_kept(
    tmp_path: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{TVM_FOLDER}/{name}": b"other" for name in HEADERS}
    archive = write_archive(tmp_path / "a.tar.gz", files)
    monkeypatch.setattr(header_download, "_fetch", lambda folder, otherwise: archive)
    with pytest.raises(CheckFailedError, match=r"downloaded .* is not the one of TVM"):
        find_headers()
    assert [path for path in cache_root().iterdir() if path.is_dir()] == []
    archive = write_archive(tmp_path / "b.tar.gz", {})
    with pytest.raises(CheckFailedError, match="lacks TVM's"):
        find_headers()


def test_a_download_that_fails(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(empty_cache))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(MissingToolError, match="cannot download headers") as caught:
        find_headers()
    assert "--tvm-source DIR" in caught.value.hint
