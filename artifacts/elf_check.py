"""Will the target's loader take this library? Each rule of the loader is one check.

Sources: bionic's `android-changes-for-ndk-developers.md` (text relocations, writable and executable
segments, DT_SONAME, hash tables), Android's guide to 16 KB pages, and the ELF gABI for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.elf_file import ElfImage, Segment, read_elf
from autoglm_tvm.targets.errors import CheckFailedError
from autoglm_tvm.targets.symbols import provided_symbols
from autoglm_tvm.targets.target import Target

MACHINES = {"aarch64": "EM_AARCH64", "x86_64": "EM_X86_64"}
DF_TEXTREL = 0x4
# bionic reads DT_GNU_HASH since Android 6.0.
GNU_HASH_API_LEVEL = 23
# Weak references of a C compiler's start files, which cope with their absence.
ABSENT_BY_DESIGN = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
# Generated functions, and pointers into the runtime: weak data of the library itself, which the
# runtime finds by name and fills after loading.
FUNCTION_PREFIX = "__tvm_ffi_"
RUNTIME_POINTER_PREFIXES = ("__TVM", "__tvm_ffi__library_ctx")


@dataclass(frozen=True)
class ElfCheck:
    """The answer of one check."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class ElfVerdict:
    """The answers of all checks of one library."""

    path: Path
    checks: tuple[ElfCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    @property
    def failures(self) -> tuple[ElfCheck, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)

    def to_json(self) -> dict[str, Any]:
        """Plain values for the manifest; names the file without its folder."""
        checks = [{"name": at.name, "ok": at.ok, "detail": at.detail} for at in self.checks]
        return {"file": self.path.name, "ok": self.ok, "checks": checks}

    def require(self) -> None:
        """Raise `CheckFailedError` with every failed check, if there is one."""
        if not self.ok:
            raise CheckFailedError(
                "the target's loader would refuse the library: "
                + "; ".join(f"{check.name}: {check.detail}" for check in self.failures),
                where=str(self.path),
                hint="compile it again, or try another linker with AUTOGLM_TVM_LINKER",
            )


def check_elf(path: str | Path, target: Target, soname: str) -> ElfVerdict:
    """Check a shared library for a target's loader; never raises for what the file holds.

    Parameters
    ----------
    path
        The library.
    target
        Machine, page size, DT_NEEDED and provided symbols to judge it by.
    soname
        The DT_SONAME that it must have.
    """
    path = Path(path)
    try:
        image = read_elf(path)
    except CheckFailedError as error:
        return ElfVerdict(path, (ElfCheck("readable", False, error.what),))
    answers = (check(image, target, soname) for check in CHECKS)
    return ElfVerdict(path, (ElfCheck("readable", True, f"{image.size} bytes"), *answers))


def _whole(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    ends = [image.sections_end, *(part.offset + part.filesz for part in image.segments)]
    ok = max(ends) <= image.size
    return ElfCheck("whole", ok, f"{image.size} of {max(max(ends), image.size)} bytes present")


def _machine(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    order = "little" if image.little_endian else "big"
    found = f"ELF{image.bits} {order}-endian {image.machine} {image.type}"
    wanted = f"ELF64 little-endian {MACHINES[target.arch]} ET_DYN"
    return _compare("machine", found, wanted)


def _soname(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    if soname in target.needed:
        return ElfCheck("soname", False, f"{soname} is a library that it needs itself")
    return _compare("soname", ", ".join(image.dynamic.get("DT_SONAME", ())) or "none", soname)


def _needed(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    found = sorted(image.dynamic.get("DT_NEEDED", ()))
    return _compare("needed", ", ".join(found) or "none", ", ".join(sorted(target.needed)))


def _page_alignment(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    loads = image.segments_of("PT_LOAD")
    bad = [
        f"LOAD at {load.vaddr:#x} has alignment {load.align:#x} and offset {load.offset:#x}"
        for load in loads
        if load.align < target.page_size
        or load.align & (load.align - 1)
        or (load.vaddr - load.offset) % load.align
    ]
    good = f"{len(loads)} LOAD segments aligned to at least {target.page_size} bytes"
    return _none_of("page-alignment", bad if loads else ["no LOAD segment"], good)


def _relro(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    """RELRO is protected in whole pages: writable data must not share its last one."""
    relros = image.segments_of("PT_GNU_RELRO")
    bad = [
        f"GNU_RELRO ends at {part.vaddr + part.memsz:#x}, inside a page of {target.page_size} bytes"
        for part in relros
        if (part.vaddr + part.memsz) % target.page_size
    ]
    return _none_of("relro", bad if relros else ["no GNU_RELRO segment"], "ends with a page")


def _segment_flags(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    bad = [
        f"LOAD at {load.vaddr:#x} is writable and executable"
        for load in image.segments_of("PT_LOAD")
        if "W" in load.flags and "X" in load.flags
    ]
    return _none_of("segment-flags", bad, "no segment is writable and executable")


def _stack(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    stacks = image.segments_of("PT_GNU_STACK")
    bad = ["the stack is executable" for stack in stacks if "X" in stack.flags]
    # Without the header, loaders of most machines make the stack executable.
    return _none_of("stack", bad if stacks else ["no GNU_STACK segment"], "not executable")


def _text_relocations(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    flags = image.dynamic.get("DT_FLAGS", (0,))[0]
    bad = "DT_TEXTREL" in image.dynamic or flags & DF_TEXTREL
    return _none_of("text-relocations", ["the code is patched at load"] if bad else [], "none")


def _run_path(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    bad = [
        f"{tag}={path}" for tag in ("DT_RPATH", "DT_RUNPATH") for path in image.dynamic.get(tag, ())
    ]
    return _none_of("run-path", bad, "none")


def _hash_tables(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    found = [tag for tag in ("DT_HASH", "DT_GNU_HASH") if tag in image.dynamic]
    old = target.api_level is not None and target.api_level < GNU_HASH_API_LEVEL
    ok = "DT_HASH" in found if old else bool(found)
    return ElfCheck("hash-tables", ok, ", ".join(found) or "none")


def _undefined_symbols(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    provided = {name for names in provided_symbols(target).values() for name in names}
    undefined = [symbol for symbol in image.symbols if not symbol.defined]
    bad = [
        f"{symbol.name}{' (weak)' if symbol.binding == 'WEAK' else ''}"
        for symbol in undefined
        if symbol.name not in provided
        and not (symbol.binding == "WEAK" and symbol.name in ABSENT_BY_DESIGN)
    ]
    good = f"{len(undefined)}, all provided by {', '.join(target.needed)}"
    return _none_of("undefined-symbols", bad, good, "nothing provides ")


def _exports(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    """A library without generated functions is of no use."""
    functions = [at for at in image.symbols if at.defined and at.name.startswith(FUNCTION_PREFIX)]
    bad = [] if functions else [f"no symbol begins with {FUNCTION_PREFIX}"]
    return _none_of("exports", bad, f"{len(functions)} symbols of TVM")


def _runtime_pointers(image: ElfImage, target: Target, soname: str) -> ElfCheck:
    """The runtime writes these pointers after loading, so each must be writable data."""
    pointers = [at for at in image.symbols if at.name.startswith(RUNTIME_POINTER_PREFIXES)]
    bad = [
        f"{at.name} is not writable data of the library"
        for at in pointers
        if not (at.defined and at.kind == "OBJECT" and _is_writable(image, at.value))
    ]
    return _none_of("runtime-pointers", bad, f"{len(pointers)} for the runtime to fill")


def _is_writable(image: ElfImage, address: int) -> bool:
    def within(segment: Segment) -> bool:
        return segment.vaddr <= address < segment.vaddr + segment.memsz

    loads = (load for load in image.segments_of("PT_LOAD") if within(load))
    protected = any(within(part) for part in image.segments_of("PT_GNU_RELRO"))
    return any("W" in load.flags for load in loads) and not protected


def _compare(name: str, found: str, wanted: str) -> ElfCheck:
    ok = found == wanted
    return ElfCheck(name, ok, found if ok else f"{found}; expected {wanted}")


def _none_of(name: str, bad: Iterable[str], good: str, prefix: str = "") -> ElfCheck:
    found = list(bad)
    return ElfCheck(name, not found, prefix + ", ".join(found) if found else good)


CHECKS: tuple[Callable[[ElfImage, Target, str], ElfCheck], ...] = (
    _whole,
    _machine,
    _soname,
    _needed,
    _page_alignment,
    _relro,
    _segment_flags,
    _stack,
    _text_relocations,
    _run_path,
    _hash_tables,
    _undefined_symbols,
    _exports,
    _runtime_pointers,
)
