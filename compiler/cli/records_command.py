"""`autoglm-tvm records`: show, merge, prune and export tuning records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoglm_tvm.compiler.cli.options import Json

if TYPE_CHECKING:
    from autoglm_tvm.schedules.records.summary import SummaryRow

# Of the notes about lines that were left out; --json has them all.
_MOST_NOTES = 5
# Characters that a table of records needs.
_TABLE_WIDTH = 200

app = typer.Typer(help="Show, merge, prune and export tuning records.")

_Target = Annotated[
    str | None,
    typer.Option("--target", "-t", help="Only this preset, or targets that fit 'cortex-a7?'."),
]


@app.command("show")
def show(
    source: Annotated[Path, typer.Argument(help="A record folder, or a record file.")],
    workload: Annotated[
        str | None, typer.Option(help="Only workloads that fit, such as 'conv2d*64x3x3'.")
    ] = None,
    target: _Target = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="Show also records of other versions of TVM or of ours.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the best record, trials and failures of each workload on each target."""
    from autoglm_tvm.schedules.records.summary import summarise_records

    found = summarise_records(source, workload, target, every=show_all)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=1))
        return
    if found.rows:
        _print_rows(found.rows)
    else:
        typer.echo("no records fit" if workload or target else "no records")
    if found.hidden:
        typer.echo(f"{found.hidden} more of other versions; --all shows them")
    _print_notes(found.notes)


@app.command("merge")
def merge(
    sources: Annotated[list[Path], typer.Argument(help="Record folders or files.")],
    into: Annotated[Path, typer.Option(help="The folder to add to; made where it is absent.")],
    as_json: Json = False,
) -> None:
    """Add records to a folder; of two of one configuration the better evidence counts."""
    from autoglm_tvm.schedules.records.merge import merge_records

    result = merge_records(sources, into)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
        return
    for source in result.sources:
        typer.echo(
            f"{source.path}: {source.records} records, {source.added} added, "
            f"{source.improved} with better evidence, {source.known} known"
        )
        _print_notes(source.notes)
    typer.echo(f"{result.folder} holds {result.total} records")


@app.command("prune")
def prune(
    folder: Annotated[Path, typer.Argument(help="A record folder.")],
    keep: Annotated[
        int, typer.Option(help="Configurations to keep of each workload on each target.")
    ] = 3,
    this_version: Annotated[
        bool,
        typer.Option("--this-version", help="Drop records of other versions of TVM or of ours."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Keep the best configurations, and wrong results as a warning; drop the rest."""
    from autoglm_tvm.schedules.records.prune import prune_records

    result = prune_records(folder, keep, other_versions=not this_version)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
        return
    typer.echo(
        f"{result.folder}: {result.kept} records kept, {result.dropped} dropped; "
        f"{result.bytes_before} bytes before, {result.bytes_after} now"
    )
    if result.unreadable:
        typer.echo(f"{result.unreadable} broken lines were dropped as well")
    if result.foreign:
        typer.echo(f"{result.foreign} lines of another format were kept as they are")


@app.command("export")
def export(
    source: Annotated[Path, typer.Argument(help="A record folder, or a record file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The .jsonl file to write.")],
    target: _Target = None,
    as_json: Json = False,
) -> None:
    """Write the records that a build would apply to one file, to ship or to pass on."""
    from autoglm_tvm.schedules.records.export import export_records

    result = export_records(source, output, target)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=1))
        return
    typer.echo(f"{result.output}: {result.records} records, {result.bytes} bytes")
    for text in result.targets:
        typer.echo(f"  for {text}")
    _print_notes(result.notes)


def _print_rows(rows: Sequence[SummaryRow]) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    # Workloads are long and stand last: a narrow terminal breaks them, and not the numbers.
    console = Console(highlight=False)
    console.width = max(console.width, _TABLE_WIDTH)
    for target in dict.fromkeys(row.target for row in rows):
        table = Table(box=SIMPLE, title=target, title_justify="left", title_style="bold")
        for name in ("default ms", "best ms", "faster", "trials"):
            table.add_column(name, justify="right", no_wrap=True)
        for name in ("failures", "checked", "date", "device", "workload"):
            table.add_column(name, no_wrap=name != "workload", overflow="fold")
        for row in rows:
            if row.target == target:
                table.add_row(*_cells(row))
        console.print(table)


def _cells(row: SummaryRow) -> tuple[Any, ...]:
    from rich.markup import escape

    from autoglm_tvm.schedules.records.record import SPACE_VERSION, TVM_VERSION

    this = (row.tvm, row.space) == (TVM_VERSION, SPACE_VERSION)
    version = "" if this else f" (TVM {row.tvm}, schedule space {row.space})"
    failures = ", ".join(f"{count} {kind}" for kind, count in row.failures.items())
    texts = (
        _milliseconds(row.default_seconds),
        _milliseconds(row.best_seconds),
        f"{1 / row.ratio:.2f}x" if row.ratio else "-",
        str(row.trials),
        failures or "-",
        "yes" if row.checked else "no",
        row.created[:10] or "-",
        row.device,
        row.workload + version,
    )
    return tuple(escape(text) for text in texts)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.4g}"


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes[:_MOST_NOTES]:
        typer.echo(f"note: {note}", err=True)
    if len(notes) > _MOST_NOTES:
        typer.echo(f"note: {len(notes) - _MOST_NOTES} more lines; --json has them all", err=True)
