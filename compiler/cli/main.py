"""Entry point of `autoglm-tvm`: its commands; an error becomes one message and an exit code."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
import tempfile
import traceback
from importlib import metadata
from typing import Annotated, Any

import typer

from autoglm_tvm.compiler.cli import (
    bench_command,
    compile_command,
    device_command,
    doctor_command,
    explain_command,
    inspect_command,
    quantize_command,
    records_command,
    run_command,
    runtime_command,
    targets_command,
    tracker_command,
    tune_command,
    verify_command,
)
from autoglm_tvm.compiler.cli.interrupt import catch_interrupts, interrupted
from autoglm_tvm.targets.errors import AutoglmError, DefectError, UserInputError

_EPILOG = (
    "Exit codes: 0 right; 1 a check failed; 2 the input is wrong; 3 a tool or device is missing. "
    "70 is a defect of ours. --debug anywhere shows the traceback of an error."
)
# What a shell expects of a program that Ctrl-C ended: 128 + SIGINT.
_INTERRUPTED = 130
_REFUSALS_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
# Typer exports the subclass only; its base moved when Typer took click into itself.
_USAGE_ERROR: Any = typer.BadParameter.__base__

app = typer.Typer(
    name="autoglm-tvm",
    epilog=_EPILOG,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("compile")(compile_command.compile_model)
app.command("quantize")(quantize_command.quantize_model)
app.command("run")(run_command.run_bundle)
app.command("verify")(verify_command.verify_bundle)
app.command("tune")(tune_command.tune_model)
app.command("bench")(bench_command.bench_bundle)
app.command("inspect")(inspect_command.inspect)
app.command("explain")(explain_command.explain_schedules)
app.command("targets")(targets_command.list_targets)
app.command("doctor")(doctor_command.examine)
app.add_typer(device_command.app, name="device")
app.add_typer(tracker_command.app, name="tracker")
app.add_typer(records_command.app, name="records")
app.add_typer(runtime_command.app, name="runtime")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autoglm-tvm {metadata.version('autoglm-tvm')}")
        raise typer.Exit


@app.callback()
def program(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    # Taken out of the arguments by `main`, since it may stand anywhere; named here for the help.
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Take an ONNX model and make it run on a phone."""


def main() -> None:
    """Run the command line and exit with its code."""
    catch_interrupts()
    arguments = [item for item in sys.argv[1:] if item != "--debug"]
    try:
        # Not standalone: an error of usage is raised, and told in the same form as all others.
        code = app(arguments or ["--help"], prog_name="autoglm-tvm", standalone_mode=False) or 0
    except (KeyboardInterrupt, typer.Abort):
        code = _INTERRUPTED
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        if interrupted():
            code = _INTERRUPTED
        else:
            told = _for_the_user(error)
            _report(told, as_json="--json" in arguments)
            code = told.exit_code
    if code == _INTERRUPTED:
        sys.stderr.write("interrupted; nothing was left half-written\n")
    sys.exit(code)


def _for_the_user(error: Exception) -> AutoglmError:
    """Return the error as one of ours: the user's, the disk's, or a defect."""
    if isinstance(error, AutoglmError):
        return error
    if isinstance(error, _USAGE_ERROR):
        return _of_usage(error)
    kind = type(error).__name__
    first = (str(error).strip() or kind).splitlines()[0]
    if isinstance(error, OSError) and error.errno in _REFUSALS_OF_THE_DISK:
        return UserInputError(
            error.strerror or first,
            where=str(error.filename or ""),
            hint=f"see that the disk and {tempfile.gettempdir()} have room and that you may write "
            "there; --debug shows what was about to be written",
        )
    return DefectError(
        f"this is a defect of autoglm-tvm or TVM, not of your input: {kind}: {first}",
        hint="run the same command with --debug and report the traceback",
    )


def _of_usage(error: Any) -> UserInputError:
    command = error.ctx.command_path if error.ctx else "autoglm-tvm"
    what = error.format_message().rstrip(".")
    return UserInputError(what, where=command, hint=f"see {command} --help")


def _report(error: AutoglmError, *, as_json: bool) -> None:
    sys.stderr.write(f"error: {error}\n")
    if as_json:
        content = {"what": error.what, "where": error.where, "hint": error.hint}
        # Standard output may be the very thing that is full.
        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps({"error": content, "exit_code": error.exit_code}) + "\n")


if __name__ == "__main__":
    main()
