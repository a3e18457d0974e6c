"""Run CMake and Ninja: from PyPI, beside this Python, or from the system."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError

INSTALL_HINT = "pip install cmake ninja  (or: apt-get install cmake ninja-build)"
_CONFIGURE_TIMEOUT_S = 300
_STEP = re.compile(r"\[(\d+)/(\d+)\]")
_ERROR = re.compile(r"\berror:", re.IGNORECASE)
# What is compiled, steps done, steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CMake:
    """The two programs.

    Attributes
    ----------
    log
        Where the whole of what they say is written when they fail.
    """

    cmake: str
    ninja: str
    log: Path

    def configure(self, source: Path, build: Path, settings: Sequence[str]) -> None:
        """Make the build folder.

        Raises
        ------
        MissingToolError
            CMake fails; the error has what it says, and where its whole log is.
        """
        command = [
            *[self.cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={self.ninja}"],
            *["-S", str(source), "-B", str(build), *settings],
        ]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_CONFIGURE_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise MissingToolError(
                f"CMake took over {_CONFIGURE_TIMEOUT_S} s", hint="see what keeps the machine busy"
            ) from None
        if done.returncode != 0:
            raise self._failure("CMake cannot use the compiler", done.stderr)

    def build(self, what: str, build: Path, jobs: int, progress: Progress) -> None:
        """Compile and link.

        Parameters
        ----------
        what
            What is compiled, for messages.
        build
            The folder that `configure` made.
        jobs
            How many compilers run at once.
        progress
            Called after each step.

        Raises
        ------
        MissingToolError
            The compiler fails; the error has its first message, and where the whole log is.
        """
        command = [self.ninja, "-C", str(build), f"-j{jobs}"]
        said: list[str] = []
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    said.append(line)
                    if step := _STEP.match(line):
                        progress(what, int(step[1]), int(step[2]))
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            raise self._failure(f"{what} does not compile", "".join(said))

    def install(self, build: Path, folder: Path) -> None:
        """Copy program and libraries without debug information into a folder."""
        command = [self.cmake, "--install", str(build), "--prefix", str(folder), "--strip"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise self._failure("cannot gather what was built", done.stderr)

    def _failure(self, what: str, said: str) -> MissingToolError:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text(said)
        lines = [line for line in said.splitlines() if _ERROR.search(line)]
        reason = (lines or said.strip().splitlines() or ["no message"])[0].strip()
        return MissingToolError(f"{what}: {reason}", where=str(self.log), hint="see this log")


def find_cmake(log: Path) -> CMake:
    """Return CMake and Ninja.

    Raises
    ------
    MissingToolError
        One of them is missing; the error has the command that brings it.
    """
    found = {name: _find(name) for name in ("cmake", "ninja")}
    if missing := [name for name, path in found.items() if path is None]:
        raise MissingToolError(f"{' and '.join(missing)} is missing", hint=INSTALL_HINT)
    return CMake(str(found["cmake"]), str(found["ninja"]), log)


def _find(name: str) -> str | None:
    # Beside the Python of a virtual environment that may not be active.
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.is_file() else shutil.which(name)
