"""Linking: every target with every linker here, the same bytes each time, clear failures."""

from __future__ import annotations

import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.artifacts.elf_check import check_elf
from autoglm_tvm.targets import Target, find_linkers, link_shared, resolve_target
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError, UserInputError
from autoglm_tvm.targets.linkers import LINKER_KINDS
from tests.targets.tiny_model import compile_for, dense_module, int8_dot_module

PRESETS = ["android-arm64", "android-x86_64", "linux-arm64", "host"]
ANDROID = resolve_target("android-arm64")


@pytest.fixture(autouse=True)
def _no_choice_of_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_NDK_HOME", raising=False)
    monkeypatch.delenv("AUTOGLM_TVM_LINKER", raising=False)


def _export(module, target: Target, output: Path, linker: str) -> None:
    def fcompile(path, objects, **_):
        link_shared(objects, path, target, output.name, linker=linker)

    compile_for(module, target).export_library(str(output), fcompile=fcompile)


@pytest.mark.parametrize("linker", [kind for kind in LINKER_KINDS if kind != "ndk"])
@pytest.mark.parametrize("name", PRESETS)
def test_an_exported_network_passes_the_elf_check(name: str, linker: str, tmp_path: Path):
    target = resolve_target(name)
    for module in (dense_module(), int8_dot_module()):
        output = tmp_path / "libtiny.so"
        _export(module, target, output, linker)
        verdict = check_elf(output, target, "libtiny.so")
        assert verdict.ok, verdict.failures


@pytest.mark.parametrize("linker", [kind for kind in LINKER_KINDS if kind != "ndk"])
def test_the_hosts_library_loads_and_runs(linker: str, tmp_path: Path):
    import tvm
    from tvm import relax

    target = resolve_target("host")
    _export(dense_module(), target, tmp_path / "libtiny.so", linker)
    machine_class: Any = relax.VirtualMachine  # its annotations refuse what it takes
    machine = machine_class(tvm.runtime.load_module(str(tmp_path / "libtiny.so")), tvm.cpu())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 16), dtype=np.float32) * 0.1
    w = rng.standard_normal((16, 8), dtype=np.float32)
    y = machine["main"](tvm.runtime.tensor(x), tvm.runtime.tensor(w)).numpy()
    erf = np.vectorize(math.erf)
    np.testing.assert_allclose(y, erf(np.exp(x @ w)), rtol=1e-5)


def test_parallel_loops_of_the_hosts_library_run(tmp_path: Path):
    """`__TVMBackendParallelLaunch` is a pointer in the library that the runtime fills."""
    import tvm

    target = resolve_target("host")
    linker = next(found.kind for found in find_linkers(target) if found.found)
    _export(int8_dot_module(), target, tmp_path / "libdot.so", linker)
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-128, 128, (16, 64), dtype=np.int8) for _ in range(2))
    c = tvm.runtime.tensor(np.zeros(16, np.int32))
    module = tvm.runtime.load_module(str(tmp_path / "libdot.so"))
    module["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), c)
    np.testing.assert_array_equal(c.numpy(), (a.astype(np.int32) * b).sum(axis=1))


@pytest.mark.parametrize("linker", [kind for kind in LINKER_KINDS if kind != "ndk"])
def test_the_same_objects_give_the_same_bytes_and_report_from_any_folder(
    linker: str, android_objects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    results = []
    for place in ("one", "another folder"):
        folder = tmp_path / place
        folder.mkdir()
        copies = [Path(shutil.copy(path, folder)) for path in android_objects]
        monkeypatch.chdir(folder)
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr("tempfile.tempdir", None)
        objects = [copy.name for copy in copies] if place == "one" else copies
        report = link_shared(objects, f"{place}.so", ANDROID, "libtiny.so", linker=linker)
        results.append((Path(f"{place}.so").read_bytes(), report))
        assert sorted(path.name for path in folder.iterdir()) == sorted(
            [f"{place}.so", *(copy.name for copy in copies)]
        )
    assert results[0] == results[1]
    assert str(tmp_path) not in " ".join(results[0][1].command)
    assert str(tmp_path).encode() not in results[0][0]


def test_each_library_binds_to_its_own_symbols(android_objects: list[Path], tmp_path: Path):
    """Two models have functions of the same names, and may be loaded into one scope."""
    from elftools.elf.elffile import ELFFile

    link_shared(android_objects, tmp_path / "libtiny.so", ANDROID, "libtiny.so")
    with (tmp_path / "libtiny.so").open("rb") as stream:
        elf: Any = ELFFile(stream)
        names = elf.get_section_by_name(".dynsym")
        relocations = elf.get_section_by_name(".rela.plt")
        bound = {names.get_symbol(at["r_info_sym"]).name for at in relocations.iter_relocations()}
    assert bound == {"expf", "erff", "TVMFFIErrorSetRaisedFromCStrParts"}


def test_a_missing_function_is_said_and_the_old_library_stays(
    android_objects: list[Path], tmp_path: Path
):
    without_libm = replace(ANDROID, needed=("libtvm_ffi.so", "libc.so"))
    output = tmp_path / "libtiny.so"
    output.write_bytes(b"old")
    with pytest.raises(CheckFailedError, match=r"undefined (symbol: |reference to .)(expf|erff)"):
        link_shared(android_objects, output, without_libm, "libtiny.so")
    assert output.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [output]


def test_objects_for_another_machine_are_refused(android_objects: list[Path], tmp_path: Path):
    with pytest.raises(CheckFailedError, match="the linker failed"):
        link_shared(android_objects, tmp_path / "a.so", resolve_target("android-x86_64"), "a.so")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing.o", "devc.c"])
def test_what_is_no_object_file_is_refused(name: str, tmp_path: Path):
    (tmp_path / "devc.c").write_text("int x;", encoding="utf-8")
    with pytest.raises(UserInputError, match="object file") as caught:
        link_shared([tmp_path / name], tmp_path / "a.so", ANDROID, "a.so")
    assert name in caught.value.where


def test_no_objects_are_refused(tmp_path: Path):
    with pytest.raises(UserInputError, match="no object files"):
        link_shared([], tmp_path / "a.so", ANDROID, "a.so")


def test_an_output_that_cannot_be_written_is_refused(android_objects: list[Path], tmp_path: Path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "nowhere" / "a.so", tmp_path / "file" / "a.so"):
        with pytest.raises(UserInputError, match="cannot write the library") as caught:
            link_shared(android_objects, output, ANDROID, "a.so")
        assert caught.value.where == str(output)


def _fake_ndk(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    linker = folder / "toolchains/llvm/prebuilt/linux-x86_64/bin/ld.lld"
    linker.parent.mkdir(parents=True)
    linker.write_text(script, encoding="utf-8")
    linker.chmod(0o755)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(folder))


def test_the_linker_of_the_ndk_is_used(
    android_objects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pytest.importorskip("ziglang", reason="stands in for the NDK's linker")
    script = f'#!/bin/sh\nexec "{sys.executable}" -m ziglang ld.lld "$@"\n'
    _fake_ndk(tmp_path / "ndk", script, monkeypatch)
    report = link_shared(android_objects, tmp_path / "a.so", ANDROID, "a.so")
    assert report.linker == "ndk"
    assert report.to_json()["command"][0] == "ld.lld"
    assert check_elf(tmp_path / "a.so", ANDROID, "a.so").ok


def test_a_linker_that_hangs_is_ended(
    android_objects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _fake_ndk(tmp_path / "ndk", "#!/bin/sh\nexec sleep 60\n", monkeypatch)
    with pytest.raises(CheckFailedError, match="did not end within"):
        link_shared(android_objects, tmp_path / "a.so", ANDROID, "a.so", timeout_s=0.2)


def test_a_linker_that_cannot_be_run_is_a_missing_tool(
    android_objects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    _fake_ndk(tmp_path / "ndk", "\x7fELF for another machine", monkeypatch)
    with pytest.raises(MissingToolError, match="does not start"):
        link_shared(android_objects, tmp_path / "a.so", ANDROID, "a.so")
