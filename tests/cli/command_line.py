"""Run `autoglm-tvm`: in this process, which has TVM loaded already, or as a process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from autoglm_tvm.compiler.cli.main import main

MODULE = "autoglm_tvm.compiler.cli.main"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind: exit code and what it printed."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """Standard output as JSON; there is nothing else on it."""
        return json.loads(self.stdout)


def run(*arguments: object) -> Outcome:
    """Run the command line in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    argv = ["autoglm-tvm", *map(str, arguments)]
    code: object = "no exit"
    with (
        mock.patch.object(sys, "argv", argv),
        contextlib.redirect_stdout(stdout),
        contextlib.redirect_stderr(stderr),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return Outcome(code, stdout.getvalue(), stderr.getvalue())


def run_process(*arguments: object, **options: Any) -> Outcome:
    """Run the command line as a process; `options` go to `subprocess.run`."""
    command = [sys.executable, "-m", MODULE, *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def succeeds(*arguments: object) -> Outcome:
    """Run in this process; the exit code is 0 and nothing looks like an error."""
    outcome = run(*arguments)
    assert outcome.code == 0, outcome
    assert "error" not in outcome.stderr
    return outcome


def fails(code: int, *arguments: object, says: str, changes: Path | None = None) -> Outcome:
    """Run a command that must fail, as text and as JSON; return the outcome with JSON.

    Parameters
    ----------
    code
        The exit code that it must have.
    arguments
        Of the command line, without ``--json``.
    says
        What the message must contain.
    changes
        A folder that must be as before, down to every byte.
    """
    before = snapshot(changes)
    text = run(*arguments)
    assert_one_message(text, code, says)
    assert text.stdout == ""
    outcome = run(*arguments, "--json")
    assert_one_message(outcome, code, says)
    assert outcome.json["exit_code"] == code
    error = outcome.json["error"]
    assert says in f"{error['where']}: {error['what']}\n  -> {error['hint']}"
    assert error["hint"]
    assert snapshot(changes) == before
    return outcome


def assert_one_message(outcome: Outcome, code: int, says: str) -> None:
    """Check that an outcome is one error for people, with what to do next."""
    assert outcome.code == code, outcome
    assert outcome.stderr.startswith("error: ")
    assert outcome.stderr.count("error: ") == 1
    assert "\n  -> " in outcome.stderr
    assert says in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert "defect of autoglm-tvm" not in outcome.stderr


def snapshot(folder: Path | None) -> dict[str, bytes | None]:
    """Every file and folder below a folder, with the files' bytes."""
    if folder is None:
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
