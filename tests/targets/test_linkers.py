"""Which linker is chosen, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.targets import choose_linker, find_linkers, linkers, resolve_target
from autoglm_tvm.targets.errors import MissingToolError, UserInputError

ANDROID = resolve_target("android-arm64")
LINUX = resolve_target("linux-arm64")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No NDK, nothing on PATH, no choice made by whoever runs the tests."""
    monkeypatch.delenv(linkers.NDK_VARIABLE, raising=False)
    monkeypatch.delenv(linkers.LINKER_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


def _without_zig(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linkers, "find_spec", lambda _: None)


def _program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def _ndk(folder: Path) -> Path:
    return _program(folder / "toolchains/llvm/prebuilt/linux-x86_64/bin/ld.lld")


def test_the_ndk_of_the_user_comes_first_for_android_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    linker = _ndk(tmp_path / "ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk"))
    assert choose_linker(ANDROID).command == (str(linker),)
    assert not find_linkers(LINUX)[0].found


@pytest.mark.parametrize("folder", ["", "sdk"])
def test_a_wrong_ndk_is_said_and_not_worked_around(
    folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "sdk").mkdir()
    home = tmp_path / (folder or "nowhere")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(home))
    with pytest.raises(MissingToolError, match="no NDK here") as caught:
        choose_linker(ANDROID)
    assert str(home) in caught.value.where
    choose = [linker.kind for linker in find_linkers(LINUX)]
    assert choose == ["ndk", "zig", "lld", "gnu"]


def test_lld_on_path_is_found_with_and_without_a_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    _without_zig(monkeypatch)
    _program(tmp_path / "bin/ld.lld-9")
    newest = _program(tmp_path / "bin/ld.lld-19")
    _program(tmp_path / "bin/ld.lld-20.orig")
    assert choose_linker(ANDROID).command == (str(newest),)
    plain = _program(tmp_path / "bin/ld.lld")
    assert choose_linker(ANDROID).command == (str(plain),)


def test_gnu_ld_is_taken_only_for_its_own_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _without_zig(monkeypatch)
    system = _program(tmp_path / "bin/ld")
    monkeypatch.setattr(linkers.platform, "machine", lambda: "x86_64")
    assert choose_linker(resolve_target("android-x86_64")).command == (str(system),)
    with pytest.raises(MissingToolError, match="no aarch64-linux-gnu-ld on PATH"):
        choose_linker(ANDROID)
    cross = _program(tmp_path / "bin/aarch64-linux-gnu-ld")
    assert choose_linker(ANDROID).command == (str(cross),)
    monkeypatch.setattr(linkers.platform, "system", lambda: "Darwin")
    with pytest.raises(MissingToolError):
        choose_linker(resolve_target("android-x86_64"))


def test_no_linker_at_all_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch):
    _without_zig(monkeypatch)
    with pytest.raises(MissingToolError, match="no linker for target 'android-arm64'") as caught:
        choose_linker(ANDROID)
    assert caught.value.hint == 'pip install "autoglm-tvm[cross]"'
    assert caught.value.exit_code == 3
    assert "ziglang is not installed" in caught.value.what


def test_a_choice_is_kept_or_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    lld = _program(tmp_path / "bin/ld.lld")
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "lld")
    assert choose_linker(ANDROID).command == (str(lld),)
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "gnu")
    with pytest.raises(MissingToolError, match="no aarch64-linux-gnu-ld") as caught:
        choose_linker(ANDROID)
    assert "AUTOGLM_TVM_LINKER" in caught.value.hint
    assert choose_linker(ANDROID, "lld").command == (str(lld),)
    monkeypatch.setenv("AUTOGLM_TVM_LINKER", "ldd")
    with pytest.raises(UserInputError, match="unknown linker 'ldd'; did you mean 'lld'"):
        choose_linker(ANDROID)
