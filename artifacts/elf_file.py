"""What a loader reads of a shared library, decoded into plain values (pyelftools underneath)."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from autoglm_tvm.targets.errors import CheckFailedError

if TYPE_CHECKING:
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile


@dataclass(frozen=True)
class Segment:
    """One program header; offsets, addresses, sizes and alignment in bytes."""

    type: str
    flags: str
    offset: int
    vaddr: int
    filesz: int
    memsz: int
    align: int


@dataclass(frozen=True)
class Symbol:
    """One dynamic symbol: address, `GLOBAL` or `WEAK`, and kind such as `FUNC` or `OBJECT`."""

    name: str
    value: int
    binding: str
    kind: str
    defined: bool


@dataclass(frozen=True)
class ElfImage:
    """The header, program headers and dynamic section of an ELF file.

    `dynamic` maps each tag (`DT_NEEDED`) to its values in order: strings where the tag names a
    string, integers otherwise. `size` and `sections_end` are in bytes.
    """

    bits: int
    little_endian: bool
    machine: str
    type: str
    size: int
    sections_end: int
    segments: tuple[Segment, ...]
    dynamic: dict[str, tuple[Any, ...]]
    symbols: tuple[Symbol, ...]

    def segments_of(self, segment_type: str) -> tuple[Segment, ...]:
        """Program headers of one type, such as `PT_LOAD`."""
        return tuple(segment for segment in self.segments if segment.type == segment_type)


def read_elf(path: Path) -> ElfImage:
    """Decode an ELF file.

    `CheckFailedError` when it is no ELF file or is damaged; the file may hold any bytes.
    """
    from elftools.elf.elffile import ELFFile

    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckFailedError(
            f"cannot read the library: {error.strerror}", where=str(path), hint="compile it again"
        ) from None
    try:
        return _decode(ELFFile(BytesIO(content)), len(content))
    except Exception as error:
        # Given hostile bytes pyelftools raises whatever its parser stumbles over: ELFError,
        # UnicodeDecodeError, AttributeError, AssertionError, OverflowError...
        reason = shorten(str(error) or type(error).__name__, 120)
        raise CheckFailedError(
            f"not an ELF file, or a damaged one ({reason})",
            where=str(path),
            hint="compile it again",
        ) from None


def _decode(elf: ELFFile, size: int) -> ElfImage:
    from elftools.elf.dynamic import DynamicSegment

    header = elf.header
    segments = list(elf.iter_segments())
    dynamic = next((part for part in segments if isinstance(part, DynamicSegment)), None)
    return ElfImage(
        bits=elf.elfclass,
        little_endian=elf.little_endian,
        machine=str(header["e_machine"]),
        type=str(header["e_type"]),
        size=size,
        sections_end=header["e_shoff"] + header["e_shnum"] * header["e_shentsize"],
        segments=tuple(_segment(segment) for segment in segments),
        dynamic=_tags(dynamic),
        symbols=_symbols(dynamic),
    )


def _segment(segment: Any) -> Segment:
    bits = segment["p_flags"]
    return Segment(
        type=str(segment["p_type"]),
        flags="".join(name for name, bit in (("R", 4), ("W", 2), ("X", 1)) if bits & bit),
        offset=segment["p_offset"],
        vaddr=segment["p_vaddr"],
        filesz=segment["p_filesz"],
        memsz=segment["p_memsz"],
        align=segment["p_align"],
    )


def _tags(dynamic: DynamicSegment | None) -> dict[str, tuple[Any, ...]]:
    strings = {"DT_NEEDED": "needed", "DT_SONAME": "soname"}
    strings |= {"DT_RPATH": "rpath", "DT_RUNPATH": "runpath"}
    tags: dict[str, tuple[Any, ...]] = {}
    for tag in dynamic.iter_tags() if dynamic is not None else ():
        name = str(tag.entry.d_tag)
        value = getattr(tag, strings[name]) if name in strings else tag.entry.d_val
        tags[name] = (*tags.get(name, ()), value)
    return tags


def _symbols(dynamic: DynamicSegment | None) -> tuple[Symbol, ...]:
    """Dynamic symbols by way of the hash tables, as a loader finds them: no section headers."""
    if dynamic is None:
        return ()
    return tuple(
        Symbol(
            name=symbol.name,
            value=symbol["st_value"],
            binding=str(symbol["st_info"]["bind"]).removeprefix("STB_"),
            kind=str(symbol["st_info"]["type"]).removeprefix("STT_"),
            defined=symbol["st_shndx"] != "SHN_UNDEF",
        )
        for symbol in dynamic.iter_symbols()
        if symbol.name
    )
