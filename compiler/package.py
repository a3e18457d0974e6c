"""Stage `package`: link the library, check it, lay the weights beside it, write the manifest."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.atomic_folder import replace_folder
from autoglm_tvm.artifacts.bundle import Bundle, hash_file
from autoglm_tvm.artifacts.elf_check import ElfVerdict, check_elf
from autoglm_tvm.artifacts.manifest import (
    FILE_NAME,
    REPORT_FILE_NAME,
    WEIGHTS_FILE_NAME,
    Manifest,
    Memory,
    WeightEntry,
)
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.artifacts.weights import write_weights
from autoglm_tvm.compiler.build import BuiltModel
from autoglm_tvm.compiler.optimise import OptimisedModel
from autoglm_tvm.compiler.quantize import QuantizeResult
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.compiler.schedule import ScheduledModel
from autoglm_tvm.targets import LinkReport, Target, link_shared
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS, installed_version

if TYPE_CHECKING:
    from collections.abc import Sequence


# Room for object files; a large network's take a tenth of it.
_CODE_BYTES = 32 << 20


@dataclass(frozen=True)
class StagedModel:
    """What the stages before packaging returned, and for whom."""

    name: str
    target: Target
    read: ReadModel
    quantized: QuantizeResult
    optimised: OptimisedModel
    scheduled: ScheduledModel
    built: BuiltModel


def package(model: StagedModel, directory: Path) -> Bundle:
    """Write a bundle to ``directory``, as one step: it is there whole or not at all.

    Raises
    ------
    CheckFailedError
        The linked library would not load on the target; nothing was written.
    MissingToolError
        There is no linker for the target.
    UserInputError
        The folder cannot be written.
    """
    with replace_folder(directory, owned_if=FILE_NAME) as work:
        library = f"lib{model.name}.so"
        report, verdict = _link(model, work / library)
        entries = write_weights(work / WEIGHTS_FILE_NAME, model.optimised.weights)
        _write_json(work / REPORT_FILE_NAME, _report(model))
        manifest = _manifest(model, library, entries, report, verdict)
        files = {path.name: hash_file(path) for path in sorted(work.iterdir())}
        manifest = replace(manifest, files=files)
        (work / FILE_NAME).write_text(manifest.to_json(), encoding="utf-8")
    return Bundle(directory, manifest)


def _link(model: StagedModel, path: Path) -> tuple[LinkReport, ElfVerdict]:
    def link(output: str, objects: Sequence[str], **_: Any) -> LinkReport:
        return link_shared(objects, output, model.target, path.name)

    _require_temporary_space()
    report = model.built.executable.export_library(str(path), fcompile=link)
    verdict = check_elf(path, model.target, soname=path.name)
    verdict.require()
    return report, verdict


def _require_temporary_space() -> None:
    """Stop before LLVM does: where it cannot write an object file, it ends the whole process."""
    folder = tempfile.gettempdir()
    if shutil.disk_usage(folder).free < _CODE_BYTES:
        raise UserInputError(
            f"less than {_CODE_BYTES >> 20} MB are free in the folder for temporary files",
            where=folder,
            hint="free some space there, or set TMPDIR to a folder that has it",
        )


def _manifest(
    model: StagedModel,
    library: str,
    entries: tuple[WeightEntry, ...],
    report: LinkReport,
    verdict: ElfVerdict,
) -> Manifest:
    weights_bytes = entries[-1].offset + entries[-1].nbytes if entries else 0
    return Manifest(
        name=model.name,
        target=model.target.to_json(),
        abi={name: installed_version(name) or "" for name in PINNED_VERSIONS},
        library=library,
        inputs=model.read.inputs,
        outputs=_outputs(model),
        weights=entries,
        memory=Memory(weights_bytes, model.built.activations_peak_bytes),
        kernels=model.scheduled.kernels,
        linker=report.to_json(),
        elf_check=verdict.to_json(),
        model_sha256=model.read.source_sha256,
        quantization=model.quantized.to_json(),
        dimensions={name: {"min": 1, "max": None} for name in _symbolic(model.read.inputs)},
    )


def _outputs(model: StagedModel) -> tuple[TensorSpec, ...]:
    """The outputs, with the sizes that Relax knows beyond those that ONNX could infer."""
    from tvm import tirx

    symbols = set(_symbolic(model.read.inputs))

    def size(dim: object) -> int | str | None:
        if isinstance(dim, tirx.IntImm):
            return int(dim)
        name = getattr(dim, "name", None)
        return name if name in symbols else None

    result: Any = model.optimised.module["main"].ret_ty
    types = list(getattr(result, "fields", [result]))
    specs = []
    for spec, found in zip(model.read.outputs, types, strict=True):
        dims = getattr(getattr(found, "shape", None), "values", None) or ()
        known = [size(dim) for dim in dims]
        if len(known) == len(spec.shape):
            shape = tuple(
                old if new is None else new for old, new in zip(spec.shape, known, strict=True)
            )
            spec = replace(spec, shape=shape)
        specs.append(spec)
    return tuple(specs)


def _symbolic(inputs: Sequence[TensorSpec]) -> list[str]:
    dims = [dim for spec in inputs for dim in spec.shape]
    return sorted({dim for dim in dims if isinstance(dim, str)})


def _report(model: StagedModel) -> dict[str, Any]:
    """What each stage did. Timings are not here: a bundle has the same bytes every time."""
    stages = {
        "read": model.read,
        "quantize": model.quantized,
        "optimise": model.optimised,
        "schedule": model.scheduled,
        "build": model.built,
    }
    return {
        "stages": {name: stage.summary() for name, stage in stages.items()},
        "notes": list(model.read.notes),
        "quantization": model.quantized.to_json(),
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
