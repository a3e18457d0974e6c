"""Which linkers this machine has for a target, and why the others cannot be used.

In order of preference: the user's NDK (Android), ld.lld from the PyPI package `ziglang`, ld.lld on
PATH, GNU ld on PATH.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.near import did_you_mean
from autoglm_tvm.targets.target import Target

LINKER_KINDS = ("ndk", "zig", "lld", "gnu")
LINKER_VARIABLE = "AUTOGLM_TVM_LINKER"
NDK_VARIABLE = "ANDROID_NDK_HOME"
NDK_LINKER = "toolchains/llvm/prebuilt/*/bin/ld.lld"
GNU_TRIPLES = {"aarch64": "aarch64-linux-gnu", "x86_64": "x86_64-linux-gnu"}
INSTALL_HINT = 'pip install "autoglm-tvm[cross]"'


@dataclass(frozen=True)
class Linker:
    """One way to link for a target.

    Attributes
    ----------
    kind
        One of `LINKER_KINDS`.
    command
        The start of its command line; empty when it cannot be used.
    reason
        Where it was found, or why it cannot be used.
    """

    kind: str
    command: tuple[str, ...]
    reason: str

    @property
    def found(self) -> bool:
        """Whether it can be used."""
        return bool(self.command)


def find_linkers(target: Target) -> tuple[Linker, ...]:
    """Every kind of linker in order of preference, found or with the reason why not.

    A wrong `ANDROID_NDK_HOME` is a `MissingToolError` where it would be used: to link with another
    linker than the one that the user named would hide the mistake.
    """
    return (_find_ndk(target), _find_zig(), _find_lld(), _find_gnu(target))


def choose_linker(target: Target, kind: str | None = None) -> Linker:
    """The first linker that can be used, or the one of `kind` (default: `$AUTOGLM_TVM_LINKER`).

    Raises `MissingToolError` when there is none, `UserInputError` for an unknown kind.
    """
    kind = kind or os.environ.get(LINKER_VARIABLE) or None
    if kind is not None and kind not in LINKER_KINDS:
        raise UserInputError(
            f"unknown linker '{kind}'{did_you_mean(kind, LINKER_KINDS)}",
            where=LINKER_VARIABLE,
            hint=f"set it to one of: {', '.join(LINKER_KINDS)}, or leave it out",
        )
    linkers = find_linkers(target)
    for linker in linkers:
        if linker.found and kind in (None, linker.kind):
            return linker
    tried = "; ".join(f"{at.kind}: {at.reason}" for at in linkers if kind in (None, at.kind))
    raise MissingToolError(
        f"no linker for target '{target.name}' ({tried})",
        hint=f"unset {LINKER_VARIABLE}, or {INSTALL_HINT}" if kind else INSTALL_HINT,
    )


def _find_ndk(target: Target) -> Linker:
    if target.abi != "android":
        return Linker("ndk", (), "links for Android only")
    home = os.environ.get(NDK_VARIABLE)
    if not home:
        return Linker("ndk", (), f"{NDK_VARIABLE} is not set")
    for path in sorted(Path(home).glob(NDK_LINKER)):
        if os.access(path, os.X_OK):
            return Linker("ndk", (str(path),), str(path))
    raise MissingToolError(
        f"no NDK here: {NDK_LINKER} not found",
        where=f"{NDK_VARIABLE}={home}",
        hint=f"point {NDK_VARIABLE} at an NDK (r23 or later), or unset it to link without one",
    )


def _find_zig() -> Linker:
    spec = find_spec("ziglang")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "zig"
        if os.access(path, os.X_OK):
            return Linker("zig", (str(path), "ld.lld"), str(path))
    return Linker("zig", (), "the package ziglang is not installed")


def _find_lld() -> Linker:
    path = shutil.which("ld.lld") or _newest_lld()
    if path:
        return Linker("lld", (path,), path)
    return Linker("lld", (), "no ld.lld or ld.lld-NN on PATH")


def _newest_lld() -> str | None:
    """Debian's `lld-NN` packages install `ld.lld-NN` only; the highest NN."""
    found: list[tuple[int, str]] = []
    for folder in os.get_exec_path():
        for path in Path(folder).glob("ld.lld-*"):
            version = re.fullmatch(r"ld\.lld-(\d+)", path.name)
            if version and os.access(path, os.X_OK):
                found.append((int(version[1]), str(path)))
    return max(found)[1] if found else None


def _find_gnu(target: Target) -> Linker:
    names = [f"{GNU_TRIPLES[target.arch]}-ld"]
    if platform.system() == "Linux" and platform.machine() == target.arch:
        names.append("ld")
    for name in names:
        path = shutil.which(name)
        if path:
            return Linker("gnu", (path,), path)
    return Linker("gnu", (), f"no {' or '.join(names)} on PATH")
