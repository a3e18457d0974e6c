"""The JSON file of a run: what was measured, where, and with what; later runs compare with it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import UserInputError
from benchmarks.report import summary

#: Other benchmarks write other sections of the same file.
SECTION = "latency"
Row = dict[str, Any]
_PACKAGES = ("apache-tvm", "onnxruntime", "openvino", "ncnn", "MNN", "numpy")


def write_record(path: Path, rows: Sequence[Row], settings: dict[str, Any]) -> None:
    """Write the rows, their summary, and the machine as the section `SECTION` of a JSON file.

    Raises
    ------
    UserInputError
        The file cannot be written, or is there and is something else.
    """
    write_section(path, SECTION, rows, settings, summary(rows))


def write_section(
    path: Path,
    name: str,
    rows: Sequence[Row],
    settings: dict[str, Any],
    summary: dict[str, Any],
) -> None:
    """Write rows, their summary, and the machine as one section of a JSON file.

    Raises
    ------
    UserInputError
        The file cannot be written, or is there and is something else.
    """
    section = {
        "machine": _machine(),
        "versions": _versions(),
        "settings": settings,
        "summary": summary,
        "rows": list(rows),
    }
    write_sections(path, {name: section})


def read_rows(path: Path) -> list[Row]:
    """Return the rows of an earlier run; `UserInputError` where the file has none."""
    return read_section(path, SECTION, "benchmarks/latency.py")


def write_sections(path: Path, sections: dict[str, Any]) -> None:
    """Write sections of a JSON file; its other ones stay as they are.

    Raises
    ------
    UserInputError
        The file cannot be written, or is there and is something else.
    """
    content = read_json(path) if path.exists() else {}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**content, **sections}, indent=1)
        path.write_text(f"{text}\n", encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"cannot write: {error.strerror}", where=str(path)) from error


def read_section(path: Path, name: str, program: str) -> list[Row]:
    """Return the rows of the section `name`, which `program` writes.

    Raises
    ------
    UserInputError
        The file has none.
    """
    section = read_json(path).get(name)
    if not isinstance(section, dict) or "rows" not in section:
        raise UserInputError(
            f"this is not the record of a run: it has no section {name!r}",
            where=str(path),
            hint=f"write one with: python {program} --json FILE",
        )
    return section["rows"]


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; a UserInputError where there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserInputError(f"cannot read: {error.strerror}", where=str(path)) from error
    except ValueError as error:
        raise UserInputError("this is no JSON", where=str(path)) from error
    if not isinstance(content, dict):
        raise UserInputError("this is no JSON object", where=str(path))
    return content


def _machine() -> dict[str, Any]:
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """Return what this machine's processor is called."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
