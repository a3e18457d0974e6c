"""`autoglm-tvm bench`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm_tvm.compiler.cli.interrupt import end_if_interrupted
from autoglm_tvm.compiler.cli.options import Json, load_inputs, parse_shapes
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from autoglm_tvm.rpc.measure import BenchResult
    from autoglm_tvm.rpc.measure.profile import Profile

_MOST_KERNELS, _LONGEST_NAME = 20, 30


def bench_bundle(
    bundle: Annotated[Path, typer.Argument(help="The bundle's folder.")],
    tracker: Annotated[
        str | None, typer.Option(help="Measure on a device: HOST:PORT of the tracker.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The device's key at the tracker.")] = None,
    inputs: Annotated[
        Path | None, typer.Option(help="Inputs by name, an .npz file; made ones otherwise.")
    ] = None,
    shape: Annotated[
        list[str] | None,
        typer.Option(help="Shape of a made input with symbolic dimensions: NAME=1,3,224,224."),
    ] = None,
    cpus: Annotated[
        str, typer.Option(help="Cores to run on: big, little, all, or a list such as 4-7.")
    ] = "big",
    threads: Annotated[
        int | None, typer.Option(help="Worker threads; what the bundle was compiled for otherwise.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(help="Timed runs; as many as fit into 10 s otherwise.")
    ] = None,
    warm_up: Annotated[
        float, typer.Option(help="Longest warm-up in seconds; it ends when the latency is stable.")
    ] = 20.0,
    sustained: Annotated[
        float, typer.Option(metavar="MINUTES", help="Then keep it under load for so long.")
    ] = 0.0,
    max_temperature: Annotated[
        str | None,
        typer.Option(
            metavar="C",
            help="Wait until the CPU is at this temperature or below: degrees Celsius, or none. "
            "By default 50 on a device that has a thermal zone.",
        ),
    ] = None,
    cool_timeout: Annotated[
        float, typer.Option(metavar="MINUTES", help="How long to wait for it.")
    ] = 10.0,
    profile: Annotated[bool, typer.Option("--profile", help="Time each kernel too.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with tables and charts.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the charts (needs matplotlib).")] = None,
    as_json: Json = False,
) -> None:
    """Measure latency, temperature, memory and energy, on a device or on this machine."""
    if (tracker is None) != (key is None):
        raise UserInputError(
            "--tracker and --key go together", hint="give both to run on a device, or neither"
        )
    shapes = parse_shapes(shape or [])
    from autoglm_tvm.rpc.measure import BenchOptions, bench

    options = BenchOptions(
        cpus=cpus,
        threads=threads,
        samples=samples,
        warm_up_s=warm_up,
        sustained_min=sustained,
        max_temperature_c=_temperature(max_temperature),
        cool_timeout_min=cool_timeout,
        profile=profile,
    )
    # All that can be wrong is looked at before minutes are spent.
    options.check()
    _check_pictures(html, png)
    arrays = load_inputs(inputs) if inputs is not None else None
    with ExitStack() as stack:
        report = stack.enter_context(_progress())
        session = None
        if tracker is not None and key is not None:
            from autoglm_tvm.rpc.session import connect

            report("connecting")
            session = stack.enter_context(connect(tracker, key))
        result = bench(bundle, session, options, inputs=arrays, shapes=shapes, progress=report)
    _write_pictures(result, html, png)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1, allow_nan=False))
    else:
        _print(result)
        for path in (html, png):
            if path is not None:
                typer.echo(f"{path} written")


def _temperature(text: str | None) -> float | None:
    if text is None or text == "none":
        return None if text is None else math.inf
    try:
        return float(text)
    except ValueError:
        raise UserInputError(
            f"{text!r} is no temperature",
            where="--max-temperature",
            hint="give degrees Celsius, such as 45, or none",
        ) from None


@contextmanager
def _progress() -> Iterator[Callable[[str], None]]:
    """Yield what shows one line of progress.

    It is drawn when it changes and not by a thread of its own, which would take a core away from
    what is measured.
    """
    from rich.console import Console
    from rich.live import Live

    with Live("", console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        def report(text: str) -> None:
            end_if_interrupted()
            live.update(f"{text} ...", refresh=True)

        yield report


def _check_pictures(html: Path | None, png: Path | None) -> None:
    if png is not None:
        from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib

        require_matplotlib()
    for option, path in (("--html", html), ("--png", png)):
        if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
            reason = "it is a folder" if path.is_dir() else "there is no such folder"
            raise UserInputError(
                f"cannot write {path}: {reason}", where=option, hint="name a file in a folder"
            )


def _write_pictures(result: BenchResult, html: Path | None, png: Path | None) -> None:
    from autoglm_tvm.rpc.measure.pictures import write_html, write_png

    for option, path, write in (("--html", html, write_html), ("--png", png, write_png)):
        if path is not None:
            try:
                write(result, path)
            except OSError as error:
                raise UserInputError(
                    f"cannot write {path}: {error.strerror}", where=option, hint="name another file"
                ) from error


def _print(result: BenchResult) -> None:
    from rich.console import Console

    from autoglm_tvm.rpc.measure.pictures.facts import (
        circumstance_rows,
        latency_rows,
        sustained_rows,
    )

    console = Console(highlight=False)
    console.print(_table("latency", latency_rows(result.latency)))
    console.print(_table("measured under", circumstance_rows(result)))
    if result.sustained is not None:
        console.print(_table("sustained", sustained_rows(result.sustained)))
    if result.profile is not None:
        _print_profile(console, result.profile)
    for note in result.notes:
        console.print(f"note: {note}", style="yellow", markup=False)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=False)
    for name, text in rows:
        table.add_row(name, escape(text))
    return table


def _print_profile(console: Any, profile: Profile) -> None:
    from rich.markup import escape
    from rich.table import Table

    from autoglm_tvm.rpc.measure.pictures.charts import shortened
    from autoglm_tvm.rpc.measure.pictures.facts import milliseconds

    table = Table(title="kernels", title_justify="left")
    table.add_column("kernel", no_wrap=True)
    table.add_column("share", justify="right")
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("calls", justify="right")
    table.add_column("rule", no_wrap=True)
    for kernel in profile.kernels[:_MOST_KERNELS]:
        table.add_row(
            escape(shortened(kernel.function, _LONGEST_NAME)),
            f"{kernel.share:.1%}",
            milliseconds(kernel.seconds),
            str(kernel.calls),
            escape(kernel.schedule.partition(":")[0]),
        )
    console.print(table)
    hidden = len(profile.kernels) - _MOST_KERNELS
    console.print(
        f"all kernels {milliseconds(profile.kernel_seconds)}; between them, timer included, "
        f"{milliseconds(profile.other_seconds)}"
    )
    more = f"{hidden} more kernels, and " if hidden > 0 else ""
    console.print(f"{more}operators and whole schedules: --html or --json")
