"""Object files into a shared library, for any target, with a linker and nothing else.

There is no C compiler, no NDK and no sysroot: stubs that only name the symbols (`symbols.py`) stand
in for the system's libraries, and the same linker makes them from a script of assignments. They are
needed so that DT_NEEDED names the libraries, without which Android's loader does not resolve their
symbols, and so that an undefined symbol is found here and not on the phone.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import (
    AutoglmError,
    CheckFailedError,
    MissingToolError,
    UserInputError,
)
from autoglm_tvm.targets.linkers import INSTALL_HINT, Linker, choose_linker
from autoglm_tvm.targets.symbols import provided_symbols
from autoglm_tvm.targets.target import Target

EMULATIONS = {"aarch64": "aarch64linux", "x86_64": "elf_x86_64"}
LINK_TIMEOUT_S = 300.0
MAX_MESSAGE_LINES = 20


@dataclass(frozen=True)
class LinkReport:
    """How a library was linked; the same for the same inputs, whatever folder they are in.

    Attributes
    ----------
    linker
        The kind of linker: `ndk`, `zig`, `lld` or `gnu`.
    version
        First line of its `--version`.
    command
        The command line, with the names of the files without their folders.
    """

    linker: str
    version: str
    command: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a report or manifest."""
        return {"linker": self.linker, "version": self.version, "command": list(self.command)}


def link_shared(
    objects: Sequence[str | Path],
    output: str | Path,
    target: Target,
    soname: str,
    *,
    linker: str | None = None,
    timeout_s: float = LINK_TIMEOUT_S,
) -> LinkReport:
    """Link object files into a shared library.

    As the `fcompile` of TVM's `export_library`::

        def fcompile(output, objects, **_):
            link_shared(objects, output, target, soname)

    Parameters
    ----------
    objects
        ELF object files for the target's machine.
    output
        The library, written only when everything succeeded.
    target
        Whose loader it is for.
    soname
        The library's DT_SONAME, such as `libmodel.so`.
    linker
        `ndk`, `zig`, `lld` or `gnu`; by default the first that this machine has.
    timeout_s
        Limit of each run of the linker, in seconds.

    Raises
    ------
    UserInputError
        An object file is missing or none, or the output cannot be written.
    MissingToolError
        No linker for this target.
    CheckFailedError
        The linker refused, for example an undefined symbol; says what the linker said.
    OSError
        The disk is full; the caller knows which of the user's folders that is about.
    """
    inputs = _checked_objects(objects)
    chosen = choose_linker(target, linker)
    output = Path(output)
    try:
        with tempfile.TemporaryDirectory(prefix="autoglm-link-") as folder:
            report = _link(chosen, inputs, Path(folder), target, soname, timeout_s)
            _move_into_place(Path(folder) / soname, output)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserInputError(
            f"cannot write the library: {error.strerror}",
            where=str(output),
            hint="choose an output folder that exists and can be written",
        ) from None
    return report


def _link(
    linker: Linker, objects: list[Path], work: Path, target: Target, soname: str, timeout_s: float
) -> LinkReport:
    """Link to `work/soname`."""
    names = _place_objects(objects, work)
    stubs = _make_stubs(linker, target, work, timeout_s)
    arguments = [*_link_flags(target, soname), "-o", soname, *names, "--no-as-needed", *stubs]
    _run(linker, arguments, work, timeout_s)
    version = _run(linker, ["--version"], work, timeout_s).splitlines()[0]
    command = (Path(linker.command[0]).name, *linker.command[1:], *arguments)
    return LinkReport(linker.kind, version, command)


def _link_flags(target: Target, soname: str) -> list[str]:
    return [
        "-shared",
        "-m",
        EMULATIONS[target.arch],
        "-soname",
        soname,
        # LOAD segments for the largest page, and RELRO padded to it: a loader rounds RELRO up to a
        # page, and would make data that follows in the same page read-only too.
        "-z",
        f"max-page-size={target.page_size}",
        "-z",
        f"common-page-size={target.page_size}",
        "-z",
        "relro",
        "-z",
        "now",
        "-z",
        "noexecstack",
        "-z",
        "text",
        "--no-undefined",
        "--hash-style=both",
        "--eh-frame-hdr",
        # Every model has symbols of the same names: each library binds to its own, even where two
        # are loaded into one scope.
        "-Bsymbolic",
        "--build-id=sha1",
        # Local symbols stay, so that a profiler on the phone names the kernels.
        "--strip-debug",
    ]


def _make_stubs(linker: Linker, target: Target, work: Path, timeout_s: float) -> list[str]:
    """Write one stub library for each of `target.needed`; their paths relative to `work`."""
    folder = work / "stubs"
    folder.mkdir()
    emulation = EMULATIONS[target.arch]
    # Without an ELF object, even an empty one, GNU ld makes no dynamic section (and no soname).
    (folder / "empty").touch()
    to_object = ["-r", "-m", emulation, "-b", "binary", "empty", "-o", "empty.o"]
    _run(linker, to_object, folder, timeout_s)
    for library, symbols in provided_symbols(target).items():
        script = folder / f"{library}.ld"
        script.write_text("".join(f"{symbol} = 0;\n" for symbol in symbols), encoding="ascii")
        arguments = ["-shared", "-m", emulation, "-soname", library, "-o", library]
        _run(linker, [*arguments, "empty.o", script.name], folder, timeout_s)
    return [f"stubs/{library}" for library in target.needed]


def _checked_objects(objects: Sequence[str | Path]) -> list[Path]:
    paths = [Path(path).resolve() for path in objects]
    for path in paths:
        if path.suffix != ".o" or not path.is_file():
            raise UserInputError(
                "not an object file" if path.is_file() else "no such object file",
                where=str(path),
                hint="give the .o files that TVM's LLVM code generator wrote",
            )
    if not paths:
        raise UserInputError("no object files to link", hint="give at least one .o file")
    return paths


def _place_objects(objects: list[Path], work: Path) -> list[str]:
    """Link the objects into `work`, so that no folder of theirs gets into the library."""
    names = [f"{index}-{path.name}" for index, path in enumerate(objects)]
    for name, path in zip(names, objects, strict=True):
        (work / name).symlink_to(path)
    return names


def _run(linker: Linker, arguments: Sequence[str], work: Path, timeout_s: float) -> str:
    """Run the linker in `work`; its standard output."""
    try:
        done = subprocess.run(
            [*linker.command, *arguments],
            cwd=work,
            env=os.environ | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise CheckFailedError(
            f"the linker did not end within {timeout_s:g} s",
            where=linker.reason,
            hint="try another linker: set AUTOGLM_TVM_LINKER to zig, lld or gnu",
        ) from None
    except OSError as error:
        raise MissingToolError(
            f"the linker does not start: {error.strerror}",
            where=linker.reason,
            hint=INSTALL_HINT,
        ) from None
    if done.returncode != 0:
        raise _refusal(linker, done)
    return done.stdout


def _refusal(linker: Linker, done: subprocess.CompletedProcess[str]) -> AutoglmError:
    if done.returncode < 0:
        return MissingToolError(
            f"the linker was ended by {signal.Signals(-done.returncode).name}",
            where=linker.reason,
            hint="see that memory and the disk of the output folder have room, then try again",
        )
    lines = (done.stderr or done.stdout).strip().splitlines()
    shown = lines[:MAX_MESSAGE_LINES]
    if len(lines) > len(shown):
        shown.append(f"... and {len(lines) - len(shown)} lines more")
    said = "\n".join(shown) or "it said nothing"
    return CheckFailedError(
        f"the linker failed with exit status {done.returncode}:\n{said}",
        where=linker.reason,
        hint="an undefined symbol is a function that the target's libraries do not provide: report "
        "the model's operator; another linker can be tried with AUTOGLM_TVM_LINKER=zig, lld or gnu",
    )


def _move_into_place(library: Path, output: Path) -> None:
    """Copy beside `output`, then rename: a failure leaves the old file as it was."""
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        shutil.copy(library, part)
        part.replace(output)
    finally:
        part.unlink(missing_ok=True)
