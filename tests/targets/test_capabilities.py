"""What `doctor` reports, the pinned versions, and the symbols that are taken for granted."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import pytest

from autoglm_tvm.targets import (
    capabilities,
    check_versions,
    linkers,
    probe,
    provided_symbols,
    resolve_target,
    versions,
)
from autoglm_tvm.targets.errors import MissingToolError
from autoglm_tvm.targets.symbols import ffi_symbols, system_symbols

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def test_what_is_missing_comes_with_its_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    monkeypatch.setattr(linkers, "find_spec", lambda _: None)
    monkeypatch.setattr(capabilities, "installed_version", lambda _: None)
    found = {capability.name: capability for capability in probe()}
    missing = {name for name, capability in found.items() if not capability.ok}
    assert missing >= set(found) - {"python", "cores", "memory"}
    assert all(found[name].hint for name in missing)
    assert found["adb"].hint == "sudo apt-get install adb"
    assert found["linker for android-arm64"].hint == 'pip install "autoglm-tvm[cross]"'
    assert "apache-tvm==" in found["apache-tvm"].hint
    required = {name for name, capability in found.items() if capability.required}
    assert {"apache-tvm", "linker for android-arm64", "onnx"} <= required
    assert not {"adb", "Android NDK", "qemu-aarch64-static"} & required
    json.dumps([capability.to_json() for capability in found.values()])


def test_what_is_there_has_no_hint():
    for capability in probe():
        assert bool(capability.hint) != capability.ok, capability


def test_a_wrong_ndk_is_reported_and_does_not_end_the_report(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ANDROID_NDK_HOME", "/nonexistent")
    found = {capability.name: capability for capability in probe()}
    assert not found["Android NDK"].ok
    assert "ANDROID_NDK_HOME" in found["Android NDK"].hint


def test_the_installed_versions_pass():
    check_versions()


@pytest.mark.parametrize("installed", ["0.1.15.post2", None])
def test_another_ffi_is_refused_with_both_versions(
    installed: str | None, monkeypatch: pytest.MonkeyPatch
):
    found = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": installed}
    monkeypatch.setattr(versions, "installed_version", found.get)
    with pytest.raises(MissingToolError, match=r"need 0\.1\.14\.post1") as caught:
        check_versions()
    assert caught.value.exit_code == 3
    assert (installed or "missing") in caught.value.what
    assert '"apache-tvm-ffi==0.1.14.post1"' in caught.value.hint


def test_the_pins_are_those_of_pyproject():
    pins = dict(re.findall(r'"(apache-tvm(?:-ffi)?)==([^"]+)"', PYPROJECT.read_text("utf-8")))
    assert pins == versions.PINNED_VERSIONS


@pytest.mark.parametrize("name", ["android-arm64", "linux-arm64"])
def test_symbols_are_named_for_every_needed_library(name: str):
    target = resolve_target(name)
    provided = provided_symbols(target)
    assert list(provided) == list(target.needed)
    names = {symbol for symbols in provided.values() for symbol in symbols}
    assert {"memcpy", "expf", "erff", "powf", "fmodf", "TVMFFIErrorSetRaisedFromCStrParts"} <= names
    # bionic has neither: code that calls them must not pass for Android.
    assert ("exp10f" in names) == ("bcmp" in names) == (target.abi == "gnu")


def test_glibc_has_what_its_list_names():
    for library, names in system_symbols("gnu").items():
        loaded = ctypes.CDLL(library)
        assert [name for name in names if not hasattr(loaded, name)] == []


def test_ffi_symbols_are_the_c_api_alone():
    assert len(ffi_symbols()) > 20
    assert all(name.startswith("TVMFFI") for name in ffi_symbols())
