"""Every check passes on a good library, and each one fails alone on a library broken for it."""

from __future__ import annotations

import json
import random
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autoglm_tvm.artifacts.elf_check import CHECKS, ElfVerdict, check_elf
from autoglm_tvm.targets import choose_linker, link_shared, resolve_target
from autoglm_tvm.targets.errors import CheckFailedError
from autoglm_tvm.targets.linker import EMULATIONS
from tests.targets.tiny_model import compile_for, int8_dot_module, object_files

TARGET = resolve_target("android-arm64")
SONAME = "libdot.so"
USED_FUNCTION = "TVMFFIErrorSetRaisedFromCStrParts"
PT_LOAD, PT_GNU_STACK, PT_GNU_RELRO = 1, 0x6474E551, 0x6474E552
DT_FLAGS, DF_TEXTREL = 30, 4
STB_GLOBAL, STB_WEAK = 1, 2


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Objects of a parallel kernel: one function of libtvm_ffi, one pointer into the runtime."""
    executable = compile_for(int8_dot_module(), TARGET)
    return object_files(executable, tmp_path_factory.mktemp("objects"))


@pytest.fixture
def library(objects: list[Path], tmp_path: Path) -> Path:
    """A good library."""
    link_shared(objects, tmp_path / SONAME, TARGET, SONAME)
    return tmp_path / SONAME


def _failed(verdict: ElfVerdict) -> set[str]:
    return {check.name for check in verdict.failures}


def _relink(objects: Sequence[Path], output: Path, *flags: str) -> Path:
    """Link as `link_shared` does, but with `flags` that win over its own."""
    linker = choose_linker(TARGET)
    emulation = ["-shared", "-m", EMULATIONS[TARGET.arch]]
    stubs = []
    for name in TARGET.needed:
        _run([*linker.command, *emulation, "-soname", name, objects[0], "-o", output.parent / name])
        stubs.append(output.parent / name)
    good = ["-soname", SONAME, "-z", "max-page-size=16384", "-z", "common-page-size=16384"]
    good += ["-z", "relro", "-z", "now", "-z", "noexecstack", "--hash-style=both"]
    command = [*linker.command, *emulation, *good, "--unresolved-symbols=ignore-all", *flags]
    _run([*command, *objects, "--no-as-needed", *stubs, "-o", output])
    return output


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def _change_segments(path: Path, kind: int, change: Callable[[list[int]], None]) -> None:
    """Change program headers: [type, flags, offset, vaddr, paddr, filesz, memsz, align]."""
    data = bytearray(path.read_bytes())
    start, size, count = struct.unpack_from("<Q", data, 32)[0], 56, data[56]
    for at in range(start, start + size * count, size):
        fields = list(struct.unpack_from("<IIQQQQQQ", data, at))
        if fields[0] == kind:
            change(fields)
            struct.pack_into("<IIQQQQQQ", data, at, *fields)
    path.write_bytes(data)


def _set(index: int, value: int) -> Callable[[list[int]], None]:
    return lambda fields: fields.__setitem__(index, value)


def test_a_good_library_passes_every_check(library: Path):
    verdict = check_elf(library, TARGET, SONAME)
    assert verdict.ok, verdict.failures
    assert len(verdict.checks) == len(CHECKS) + 1
    verdict.require()
    shown = json.loads(json.dumps(verdict.to_json()))
    assert shown["ok"]
    assert shown["file"] == SONAME
    assert str(library.parent) not in json.dumps(shown)


def test_a_failure_is_an_error_that_names_the_check(library: Path):
    verdict = check_elf(library, TARGET, "libother.so")
    with pytest.raises(CheckFailedError, match=r"soname: libdot\.so; expected libother\.so"):
        verdict.require()
    assert not verdict.to_json()["ok"]


@pytest.mark.parametrize(
    ("flags", "failed"),
    [
        (["-z", "norelro"], {"relro"}),
        (["-z", "execstack"], {"stack"}),
        (["-soname", "libother.so"], {"soname"}),
        (["-rpath", "/data/local/tmp"], {"run-path"}),
        (["-rpath", "/data/local/tmp", "--disable-new-dtags"], {"run-path"}),
        (["-l:libextra.so"], {"needed"}),
        ([], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_library_linked_wrongly_fails(
    flags: list[str], failed: set[str], objects: list[Path], tmp_path: Path
):
    _run(
        [
            *choose_linker(TARGET).command,
            *["-shared", "-m", EMULATIONS[TARGET.arch], "-soname", "libextra.so"],
            *[objects[0], "-o", tmp_path / "libextra.so"],
        ]
    )
    path = _relink(objects, tmp_path / "a.so", "-L", str(tmp_path), "--no-as-needed", *flags)
    assert _failed(check_elf(path, TARGET, SONAME)) == failed


@pytest.mark.parametrize(
    ("name", "binding", "failed"),
    [
        (USED_FUNCTION, STB_GLOBAL, set()),
        (USED_FUNCTION, STB_WEAK, set()),
        ("no_such_function", STB_GLOBAL, {"undefined-symbols"}),
        # A loader takes an absent weak function for null, and the call crashes.
        ("no_such_function", STB_WEAK, {"undefined-symbols"}),
        ("__gmon_start__", STB_GLOBAL, {"undefined-symbols"}),
        ("__gmon_start__", STB_WEAK, set()),
        # The pointers that the runtime fills must be in the library.
        ("__TVMBackendParallelBarrier", STB_WEAK, {"undefined-symbols", "runtime-pointers"}),
    ],
)
def test_an_undefined_symbol_is_judged_by_name_and_binding(
    name: str, binding: int, failed: set[str], library: Path
):
    from elftools.elf.elffile import ELFFile

    with library.open("rb") as stream:
        table: Any = ELFFile(stream).get_section_by_name(".dynsym")
        index = [symbol.name for symbol in table.iter_symbols()].index(USED_FUNCTION)
        entry = table["sh_offset"] + index * table["sh_entsize"]
    padded = name.encode().ljust(len(USED_FUNCTION), b"\0")
    data = bytearray(library.read_bytes().replace(USED_FUNCTION.encode(), padded))
    data[entry + 4] = binding << 4
    library.write_bytes(data)
    verdict = check_elf(library, TARGET, SONAME)
    assert _failed(verdict) == failed
    if failed:
        assert name in " ".join(check.detail for check in verdict.failures)


def test_a_missing_library_is_found(library: Path):
    fewer = replace(TARGET, needed=("libtvm_ffi.so", "libc.so"))
    assert _failed(check_elf(library, fewer, SONAME)) == {"needed"}
    more = replace(TARGET, needed=("libm.so", "libtvm_ffi.so", "libc.so"))
    assert check_elf(library, more, SONAME).ok


def test_small_pages_fail(objects: list[Path], tmp_path: Path):
    small = ["-z", "max-page-size=4096", "-z", "common-page-size=4096"]
    verdict = check_elf(_relink(objects, tmp_path / "a.so", *small), TARGET, SONAME)
    # RELRO may end with a large page by luck.
    assert _failed(verdict) - {"relro"} == {"page-alignment"}


def test_a_library_without_functions_is_of_no_use(objects: list[Path], tmp_path: Path):
    script = tmp_path / "nothing.ver"
    script.write_text("{ local: *; };\n", encoding="ascii")
    path = _relink(objects, tmp_path / "a.so", f"--version-script={script}")
    assert _failed(check_elf(path, TARGET, SONAME)) == {"exports"}


def test_hash_tables_are_judged_by_the_api_level(objects: list[Path], tmp_path: Path):
    path = _relink(objects, tmp_path / "a.so", "--hash-style=gnu")
    assert check_elf(path, TARGET, SONAME).ok
    old = replace(TARGET, api_level=21)
    assert _failed(check_elf(path, old, SONAME)) == {"hash-tables"}
    path = _relink(objects, tmp_path / "b.so", "--hash-style=sysv")
    assert check_elf(path, old, SONAME).ok


def test_another_machine_and_kind_of_file_fail(library: Path, objects: list[Path]):
    assert _failed(check_elf(library, resolve_target("android-x86_64"), SONAME)) == {"machine"}
    assert "machine" in _failed(check_elf(objects[0], TARGET, SONAME))
    data = bytearray(library.read_bytes())
    data[16:18] = struct.pack("<H", 2)  # ET_EXEC
    library.write_bytes(data)
    assert _failed(check_elf(library, TARGET, SONAME)) == {"machine"}


def test_larger_pages_than_it_was_linked_for_fail(library: Path):
    larger = replace(TARGET, page_size=65536)
    assert "page-alignment" in _failed(check_elf(library, larger, SONAME))


@pytest.mark.parametrize(
    ("kind", "field", "value", "failed"),
    [
        (PT_LOAD, 1, 7, {"segment-flags"}),
        (PT_LOAD, 7, 0x5000, {"page-alignment"}),
        (PT_LOAD, 7, 0, {"page-alignment"}),
        (PT_GNU_STACK, 0, 0, {"stack"}),
        (PT_GNU_STACK, 1, 7, {"stack"}),
        (PT_GNU_RELRO, 6, 8, {"relro"}),
    ],
)
def test_a_segment_with_a_wrong_field_fails(
    kind: int, field: int, value: int, failed: set[str], library: Path
):
    _change_segments(library, kind, _set(field, value))
    assert _failed(check_elf(library, TARGET, SONAME)) == failed


def test_an_offset_out_of_step_with_its_address_fails(library: Path):
    def shift(fields: list[int]) -> None:
        fields[3] += 8 if fields[3] else 0

    _change_segments(library, PT_LOAD, shift)
    assert "page-alignment" in _failed(check_elf(library, TARGET, SONAME))


def test_a_runtime_pointer_in_a_read_only_page_fails(library: Path):
    def grow(fields: list[int]) -> None:
        fields[6] += TARGET.page_size

    _change_segments(library, PT_GNU_RELRO, grow)
    assert _failed(check_elf(library, TARGET, SONAME)) == {"runtime-pointers"}


def test_text_relocations_fail(library: Path):
    data = bytearray(library.read_bytes())
    flags = next(
        at
        for at in range(0, len(data) - 16, 8)
        if struct.unpack_from("<QQ", data, at) == (DT_FLAGS, 0xA)  # SYMBOLIC, BIND_NOW
    )
    struct.pack_into("<Q", data, flags + 8, 0xA | DF_TEXTREL)
    library.write_bytes(data)
    assert _failed(check_elf(library, TARGET, SONAME)) == {"text-relocations"}


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not a library", b"\x7fELF" + bytes(4096)])
def test_what_is_no_library_gets_a_verdict(content: bytes, tmp_path: Path):
    path = tmp_path / "a.so"
    path.write_bytes(content)
    assert _failed(check_elf(path, TARGET, SONAME)) >= {"readable"}


def test_a_missing_file_gets_a_verdict(tmp_path: Path):
    verdict = check_elf(tmp_path / "none.so", TARGET, SONAME)
    assert _failed(verdict) == {"readable"}
    assert "No such file" in verdict.checks[0].detail


def test_a_truncated_library_fails(library: Path):
    data = library.read_bytes()
    for size in range(0, len(data), 997):
        library.write_bytes(data[:size])
        assert not check_elf(library, TARGET, SONAME).ok, size
    library.write_bytes(data[:-1])
    assert not check_elf(library, TARGET, SONAME).ok


def test_a_library_cut_behind_its_dynamic_section_is_not_whole(library: Path):
    data = bytearray(library.read_bytes())
    data[40:48] = bytes(8)  # e_shoff: no section headers, which a loader does not need
    data[58:64] = bytes(6)
    library.write_bytes(data)

    def beyond(fields: list[int]) -> None:
        fields[5] += 1 << 20

    _change_segments(library, PT_LOAD, beyond)
    assert "whole" in _failed(check_elf(library, TARGET, SONAME))


def test_damaged_bytes_never_raise(library: Path):
    data = library.read_bytes()
    dice = random.Random(0)
    for _ in range(200):
        damaged = bytearray(data)
        for _ in range(dice.randrange(1, 40)):
            damaged[dice.randrange(min(len(data), 4096))] = dice.randrange(256)
        library.write_bytes(damaged)
        check_elf(library, TARGET, SONAME).to_json()
