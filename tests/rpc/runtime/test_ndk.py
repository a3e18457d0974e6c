"""Finding the NDK."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.rpc.runtime.ndk import find_ndk
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.rpc.runtime.conftest import LIBRARY, write_ndk


def test_without_one_the_error_says_where_to_get_it() -> None:
    with pytest.raises(MissingToolError, match="no Android NDK was found") as caught:
        find_ndk()
    assert "r27 or newer, from developer.android.com/ndk" in caught.value.hint
    assert "--ndk or ANDROID_NDK_HOME" in caught.value.hint


@pytest.mark.parametrize("variable", ["ANDROID_NDK_HOME", "ANDROID_NDK_ROOT"])
def test_the_environment_names_it(
    ndk: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(ndk))
    assert find_ndk().revision == "27.2.12479018"


def test_the_option_goes_before_the_environment(
    ndk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_NDK_HOME", str(ndk))
    newer = write_ndk(tmp_path / "newer", "29.0.1")
    assert find_ndk(newer).revision == "29.0.1"


def test_the_sdks_newest_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDROID_HOME", str(tmp_path))
    for revision in ("27.0.9", "27.0.12", "9.9.9"):
        write_ndk(tmp_path / "ndk" / revision, revision)
    (tmp_path / "ndk" / "99.0.0").mkdir()
    assert find_ndk().revision == "27.0.12"


def test_another_folder_is_no_ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserInputError, match=r"--ndk=.*: this is no NDK: it has no build/cmake"):
        find_ndk(tmp_path)
    monkeypatch.setenv("ANDROID_NDK_ROOT", str(tmp_path))
    with pytest.raises(UserInputError, match="ANDROID_NDK_ROOT="):
        find_ndk()


def test_an_old_one_is_refused(tmp_path: Path) -> None:
    old = write_ndk(tmp_path / "old", "26.3.11579264")
    with pytest.raises(UserInputError, match=r"r26, and phones with pages of 16 KB need r27"):
        find_ndk(old)


def test_one_without_a_version_is_refused(ndk: Path) -> None:
    (ndk / "source.properties").write_text("")
    with pytest.raises(UserInputError, match="does not tell its version"):
        find_ndk(ndk)


def test_its_cpp_library(ndk: Path) -> None:
    found = find_ndk(ndk).cpp_library("aarch64-linux-android")
    assert found.read_text() == "the C++ library"
    (ndk / LIBRARY / "libc++_shared.so").unlink()
    with pytest.raises(MissingToolError, match=r"no libc\+\+_shared.so"):
        find_ndk(ndk).cpp_library("aarch64-linux-android")
