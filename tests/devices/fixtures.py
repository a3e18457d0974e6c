"""Fixtures with devices. ``tests/conftest.py`` names this module in ``pytest_plugins``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from tests.rpc.small_bundle import write_small_bundle


@pytest.fixture(scope="session", autouse=True)
def own_settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Settings of the tests' own: devices, their targets, the tracker in the background."""
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGLM_TVM_CONFIG", str(folder))
        yield folder


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty settings for one test."""
    monkeypatch.setenv("AUTOGLM_TVM_CONFIG", str(tmp_path / "settings"))
    return tmp_path / "settings"


@pytest.fixture(scope="session")
def emulated_phone() -> Iterator[EmulatedPhone]:
    """An emulated ARMv8.2+ phone for all tests; fails, and says what to install, without qemu."""
    phone = EmulatedPhone(cpu="max")
    with phone:
        yield phone


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a few operators for this machine."""

    def link(output: str, objects: list[str], **_: object) -> None:
        subprocess.run(["gcc", "-shared", "-o", output, *objects], check=True, timeout=60)

    directory = tmp_path_factory.mktemp("bundles") / "small"
    return write_small_bundle(directory, {"kind": "llvm", "num-cores": 2}, link)
