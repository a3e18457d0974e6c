"""`autoglm-tvm inspect`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Json, parse_shapes

if TYPE_CHECKING:
    from autoglm_tvm.artifacts.bundle import Bundle
    from autoglm_tvm.compiler.inspect import ModelSummary


def inspect(
    path: Annotated[Path, typer.Argument(help="An ONNX file, or a bundle's folder.")],
    shape: Annotated[
        list[str] | None, typer.Option(help="Fix an input's shape first: NAME=1,3,224,224.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what is in a model or in a bundle."""
    if path.is_dir():
        from rich.console import Console

        from autoglm_tvm.artifacts.bundle import read_bundle

        with Console(stderr=True).status("comparing every file with its hash"):
            bundle = read_bundle(path)
        typer.echo(bundle.manifest.to_json() if as_json else _bundle_text(bundle))
        return
    from rich.console import Console

    with Console(stderr=True).status("reading"):
        from autoglm_tvm.compiler.inspect import inspect_model

        summary = inspect_model(path, parse_shapes(shape or []))
    typer.echo(json.dumps(summary.to_json(), indent=1) if as_json else _model_text(summary))


def _model_text(summary: ModelSummary) -> str:
    operators = ", ".join(f"{name} {count}" for name, count in summary.operators.items())
    opsets = ", ".join(f"{domain} {version}" for domain, version in summary.opsets.items())
    lines = [
        f"model      {summary.path}",
        f"made by    {summary.producer or 'unknown'}",
        f"opset      {opsets}",
        f"weights    {summary.parameters / 1e6:.2f} M parameters",
        f"operators  {operators}",
        *(f"input      {spec}" for spec in summary.inputs),
        *(f"output     {spec}" for spec in summary.outputs),
    ]
    if summary.refusal:
        lines.append(f"compiles   no: {summary.refusal}")
    else:
        lines.append(f"imports    yes, as {summary.nodes_read} nodes after normalisation")
        lines.extend(f"note       {note}" for note in summary.notes)
    return "\n".join(lines)


def _bundle_text(bundle: Bundle) -> str:
    manifest = bundle.manifest
    peak = manifest.memory.activations_peak_bytes
    rules = Counter(entry.rule or "unscheduled" for entry in manifest.kernels)
    lines = [
        f"bundle     {bundle.directory} (every file matches its SHA-256)",
        f"target     {manifest.target['name']} ({manifest.target['triple']}, "
        f"{manifest.target['cpu']}), {manifest.target['threads']} threads",
        "made with  " + ", ".join(f"{name} {version}" for name, version in manifest.abi.items()),
        *(f"input      {spec}" for spec in manifest.inputs),
        *(f"output     {spec}" for spec in manifest.outputs),
        *(f"file       {name}, {entry.bytes} bytes" for name, entry in manifest.files.items()),
        f"memory     {manifest.memory.weights_bytes / 1e6:.2f} MB of weights, "
        + (f"{peak / 1e6:.2f} MB of activations" if peak is not None else "symbolic activations"),
        f"kernels    {len(manifest.kernels)} calls: "
        + ", ".join(f"{count} {rule}" for rule, count in sorted(rules.items())),
        "elf        " + ("passed" if manifest.elf_check["ok"] else "FAILED"),
    ]
    return "\n".join(lines)
