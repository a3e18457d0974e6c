"""Errors that a user sees: what went wrong, where, and what to do next.

Every error of ours carries the exit code of the command line, so that a Python caller and a shell
script learn the same thing.
"""

from __future__ import annotations

from typing import ClassVar


class AutoglmError(Exception):
    """Base of all errors meant for the user.

    Parameters
    ----------
    what
        What is wrong, in one sentence.
    where
        The file, node, input or option that it is about; empty where the sentence says it.
    hint
        What to do next; empty only where nothing can be done.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        if self.hint:
            lines.append(f"  -> {self.hint}")
        return "\n".join(lines)


class CheckFailedError(AutoglmError):
    """A check ran and its answer is no: outputs too far off, a changed file, a bad ELF file."""

    exit_code = 1


class UserInputError(AutoglmError):
    """The user's model, option, shape or file is wrong."""

    exit_code = 2


class MissingToolError(AutoglmError):
    """A tool, library version or device that the work needs is missing."""

    exit_code = 3


class DefectError(AutoglmError):
    """Something went wrong that is nobody's fault but ours (EX_SOFTWARE of sysexits.h)."""

    exit_code = 70
