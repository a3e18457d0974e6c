"""What a device server's files say of themselves: machine, C library, libraries that they need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import UserInputError

_ELF_MACHINES = {"EM_AARCH64": "aarch64", "EM_X86_64": "x86_64"}
_ANDROID_LOADERS = ("/system/bin/linker64", "/system/bin/linker")


def is_elf(path: Path) -> bool:
    """Whether a file is a program or library of Linux."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needed_libraries(path: Path) -> list[str]:
    """Return the libraries that a file names in DT_NEEDED."""
    from elftools.elf.dynamic import DynamicSection
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        if not isinstance(section, DynamicSection):
            return []
        # pyelftools gives a tag the attribute of its kind when it reads it.
        tags: Any = section.iter_tags("DT_NEEDED")
        return [str(tag.needed) for tag in tags]


def check_server(path: Path, libc: str, arch: str) -> None:
    """Refuse a server that the phone cannot start.

    Parameters
    ----------
    path
        The server's executable.
    libc
        ``android`` or ``glibc``, as the user asked for it.
    arch
        The phone's architecture.

    Raises
    ------
    UserInputError
        It is no ELF file, or one for another machine or C library.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    try:
        with path.open("rb") as file:
            elf = ELFFile(file)
            machine = str(elf["e_machine"])
            loaders = [
                segment.get_interp_name()
                for segment in elf.iter_segments()
                if isinstance(segment, InterpSegment)
            ]
    except ELFError as error:
        raise UserInputError(
            "this is no ELF file", where=str(path), hint="build it again"
        ) from error
    if _ELF_MACHINES.get(machine) != arch:
        raise UserInputError(
            f"this server is for {_ELF_MACHINES.get(machine, machine)}, and the phone is {arch}",
            where=str(path),
            hint="build it for the phone: autoglm-tvm runtime build --help",
        )
    is_android = any(loader in _ANDROID_LOADERS for loader in loaders)
    if loaders and is_android != (libc == "android"):
        right = "android" if is_android else "glibc"
        raise UserInputError(
            f"this server is built with {right}'s C library, not {libc}'s",
            where=str(path),
            hint=f"use --libc {right}",
        )
