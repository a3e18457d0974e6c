"""Write the records worth applying to one file, to ship it or to give it to somebody."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.schedules.records import files
from autoglm_tvm.schedules.records.read import read_records
from autoglm_tvm.schedules.records.record import Record, UnknownFormatError, parse_record
from autoglm_tvm.schedules.records.record_set import RecordSet
from autoglm_tvm.schedules.records.selection import target_filter
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.locked_file import write_atomically


@dataclass(frozen=True)
class ExportResult:
    """What was written: file, records, the texts of their targets, and what was left out."""

    output: str
    records: int
    targets: tuple[str, ...]
    bytes: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "output": self.output,
            "records": self.records,
            "targets": list(self.targets),
            "bytes": self.bytes,
            "notes": list(self.notes),
        }


def export_records(source: Path, output: Path, target: str | None = None) -> ExportResult:
    """Write the best record of each workload and target to a file; equal records, equal bytes.

    Parameters
    ----------
    source
        A record folder or file.
    output
        A `.jsonl` file, replaced as one step. `read_records`, `load_records` and `merge` take it.
    target
        A preset's name or a pattern of targets' texts (`selection.target_filter`).

    Raises
    ------
    UserInputError
        There is nothing to export, or `output` is something else than a record file, or cannot be
        written.
    """
    output = Path(os.path.abspath(output))
    _check_output(output)
    records = read_records(source)
    best = _best(records, target)
    notes = (*map(str, records.notes), *records.version_notes())
    if not best:
        raise UserInputError(
            f"none of its {len(records)} records is checked, faster than the default schedule, "
            f"of this version{f' and for {target}' if target else ''}; nothing was written",
            where=str(source),
            hint=f"autoglm-tvm records show {source} --all tells what it holds",
        )
    content = b"".join(record.line for record in best)
    try:
        write_atomically(output, content)
    except OSError as error:
        raise UserInputError(
            f"cannot write the records: {error.strerror}; nothing was changed",
            where=str(output),
            hint="name another file with --output",
        ) from error
    texts = tuple(sorted({record.target.text for record in best}))
    return ExportResult(str(output), len(best), texts, len(content), notes)


def _best(records: RecordSet, target: str | None) -> list[Record]:
    wanted = target_filter(target)
    pairs = {(item.workload_hash, item.target) for item in records if wanted(item.target)}
    best = [found for pair in pairs if (found := records.best(*pair))]
    return sorted(best, key=lambda record: (record.target.text, record.workload, record.line))


def _check_output(output: Path) -> None:
    """A mistyped name must not cost the user a file of something else."""
    hint = f"name a new file that ends in {files.SUFFIX} with --output"
    if output.suffix != files.SUFFIX:
        raise UserInputError(
            f"record files end in {files.SUFFIX}, or readers do not find them",
            where=str(output),
            hint=hint,
        )
    try:
        with output.open("rb") as file:
            parse_record(file.readline())
    except (FileNotFoundError, UnknownFormatError):
        return
    except ValueError:
        if output.stat().st_size:
            raise UserInputError(
                "the file exists and holds no records", where=str(output), hint=hint
            ) from None
    except OSError as error:
        raise UserInputError(
            f"cannot write the records: {error.strerror}", where=str(output), hint=hint
        ) from error
