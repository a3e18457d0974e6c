"""The pipeline, from top to bottom: read, quantize, import, optimise, schedule, build, package."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.atomic_folder import check_replaceable
from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.artifacts.manifest import FILE_NAME as MANIFEST
from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import ImportedModel, import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.package import StagedModel, package
from autoglm_tvm.compiler.passes.layout import check_layout
from autoglm_tvm.compiler.quantization.write_model import (
    check_outputs,
    model_bytes,
    staged_files,
)
from autoglm_tvm.compiler.quantize import QuantizeResult, chosen_recipe, quantize_request
from autoglm_tvm.compiler.quantize import quantize as quantize_stage
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.recorded_choices import coverage, recorded_choices
from autoglm_tvm.compiler.refusal import refusal
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.schedules.records import Coverage
from autoglm_tvm.targets import Target, choose_linker, resolve_target
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.system_libraries import SYSTEM_LIBRARIES
from autoglm_tvm.targets.versions import check_versions

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.quantization.recipe import Recipe

STAGES = ("read", "quantize", "import", "optimise", "schedule", "build", "package")


@dataclass(frozen=True)
class CompileResult:
    """A bundle, and what every stage on the way to it returned.

    Attributes
    ----------
    bundle
        The bundle that was written.
    staged
        The stages' results; each can be printed with ``summary()`` and written with ``dump(dir)``.
    imported
        The Relax module before any pass of ours.
    seconds
        Wall time of each stage.
    tuned
        Which kernels have tuning records; None where none were to be applied.
    """

    bundle: Bundle
    staged: StagedModel
    imported: ImportedModel
    seconds: dict[str, float]
    tuned: Coverage | None = None

    @property
    def quantized(self) -> QuantizeResult:
        """How each node runs, and what a recipe cost."""
        return self.staged.quantized

    @property
    def directory(self) -> Path:
        """The bundle's folder."""
        return self.bundle.directory

    def to_json(self) -> dict[str, Any]:
        """What ``autoglm-tvm compile --json`` prints."""
        manifest = self.bundle.manifest
        return {
            "bundle": str(self.directory),
            "target": manifest.target["name"],
            "inputs": [str(spec) for spec in manifest.inputs],
            "outputs": [str(spec) for spec in manifest.outputs],
            "weights_bytes": manifest.memory.weights_bytes,
            "activations_peak_bytes": manifest.memory.activations_peak_bytes,
            "kernel_calls": len(manifest.kernels),
            "elf_check": manifest.elf_check,
            "records": None if self.tuned is None else self.tuned.to_json(),
            "quantization": manifest.quantization,
            "notes": list(self.staged.read.notes),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
        }


@dataclass
class _Recorder:
    """Times the stages, tells who listens, and dumps what each one produced."""

    progress: Callable[[str], None] | None
    dump_dir: Path | None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        if self.progress is not None:
            self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start

    def dump(self, name: str, stage: Any) -> None:
        if self.dump_dir is None:
            return
        folder = self.dump_dir / f"{STAGES.index(name) + 1:02d}-{name}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stage.dump(folder)
            (folder / "summary.txt").write_text(stage.summary() + "\n", encoding="utf-8")
            timings = json.dumps(self.seconds, indent=1) + "\n"
            (self.dump_dir / "seconds.json").write_text(timings, encoding="utf-8")
        except OSError as error:
            raise UserInputError(
                f"cannot write what the stages produced: {error.strerror}",
                where=str(folder),
                hint="name another folder with --dump-dir",
            ) from error


def compile(
    model: str | Path | onnx.ModelProto,
    target: str | Target = "host",
    output: str | Path | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    name: str | None = None,
    threads: int | None = None,
    cpu: str | None = None,
    features: str | None = None,
    layout: str | None = None,
    records: str | Path | None = None,
    quantize: str | Path | Recipe | None = None,
    calibration: Any = None,
    calibration_limit: int | None = None,
    per_layer: bool = False,
    save_quantized: str | Path | None = None,
    dump_dir: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> CompileResult:
    """Compile an ONNX model to a bundle.

    Parameters
    ----------
    model
        Path of an ONNX file, or a model in memory.
    target
        Name of a preset (``autoglm-tvm targets`` lists them), or a `Target`.
    output
        Folder of the bundle; by default ``<name>-<target>`` in the working directory. An older
        bundle there is replaced as the last step.
    shapes
        Shape for each input whose dimensions are to be fixed. Dimensions not given stay symbolic.
    name
        Name of the library; by default the file's name.
    cpu, features, threads
        Refine the preset: an LLVM CPU name, features such as ``"+dotprod,-sve"``, and the worker
        threads to schedule for.
    layout
        Layout of activations, ``"NCHW"`` or ``"NHWC"``; by default the preset's.
    records
        Folder or file of tuning records to apply, ``"shipped"`` for those of this package alone;
        by default none are applied. `CompileResult.tuned` says which kernels have some.
    quantize
        A recipe, the name of one (``"int8"``), or a YAML file of one; by default the model is
        compiled as it is, and what is quantized in it already runs as integers.
    calibration
        What the recipe measures ranges on, and accuracy: a folder, a generator, or ``"random"``;
        as for `calibration_data`.
    calibration_limit
        Take at most so many inputs from it.
    per_layer
        Measure too what error each quantized layer adds.
    save_quantized
        Write what the recipe made to this ONNX file, which comes into its place with the bundle:
        `verify` takes it as the reference.
    dump_dir
        Folder for what each stage produced, numbered.
    progress
        Called with each stage's name as it begins.

    Raises
    ------
    UserInputError
        The model, a shape, the target, the recipe or the output folder is wrong.
    MissingToolError
        TVM has another version than the pinned one, or there is no linker.
    CheckFailedError
        The linked library would not load on the target.
    """
    check_versions()
    target = refined_target(target, layout, cpu=cpu, features=features, threads=threads)
    name = _library_name(name, model)
    directory = Path(output) if output is not None else Path(f"{name}-{target.name}")
    # What would stop the last stage stops here, before the minutes of work in between.
    check_replaceable(directory, owned_if=MANIFEST)
    if save_quantized is not None:
        read_files = [Path(model)] if isinstance(model, (str, Path)) else []
        check_outputs([Path(save_quantized)], read_files, directory)
    choose_linker(target)
    choices = None if records is None else recorded_choices(records, target)
    recipe = chosen_recipe(quantize, calibration, per_layer=per_layer, saved=save_quantized)
    record = _Recorder(progress, Path(dump_dir) if dump_dir is not None else None)

    # Read: one normalised graph, whatever the exporter wrote.
    with record.stage("read"):
        graph = read(model, shapes)
        request = quantize_request(
            graph, recipe, calibration, limit=calibration_limit, per_layer=per_layer
        )
    record.dump("read", graph)

    # Quantize: by recipe where there is one; Q/DQ islands become integer operators.
    with record.stage("quantize"):
        quantized = quantize_stage(graph, target, request, progress)
    record.dump("quantize", quantized)

    # Import: ONNX becomes Relax.
    with record.stage("import"):
        imported = import_onnx(quantized.model)
    record.dump("import", imported)

    # Optimise: graph passes, operators to loops, fusion, weights apart.
    with record.stage("optimise"), refusal("optimise", graph.inputs):
        optimised = optimise(imported, target, choices)
    record.dump("optimise", optimised)

    # Schedule: loops to the target's cores and vectors.
    with record.stage("schedule"):
        scheduled = schedule(optimised, target, choices)
    record.dump("schedule", scheduled)

    # Build: memory plan, machine code.
    with record.stage("build"):
        built = build(scheduled.module, target, graph.inputs)
    record.dump("build", built)

    # Package: link, check, weights, manifest, into place.
    with record.stage("package"):
        staged = StagedModel(name, target, graph, quantized, optimised, scheduled, built)
        saved = []
        if save_quantized is not None:
            saved = [(Path(save_quantized), model_bytes(quantized.source))]
        # Both are in their places, or neither.
        with staged_files(saved):
            bundle = package(staged, directory)
    tuned = None if choices is None else coverage(choices, scheduled.kernels)
    return CompileResult(bundle, staged, imported, record.seconds, tuned)


def refined_target(
    target: str | Target,
    layout: str | None,
    *,
    cpu: str | None,
    features: str | None,
    threads: int | None,
) -> Target:
    """Return the target with what the caller asks for on top of the preset; as for `compile`."""
    if isinstance(target, str):
        target = resolve_target(target, cpu=cpu, features=features, threads=threads)
    elif (cpu, features, threads) != (None, None, None):
        raise UserInputError(
            "cpu, features and threads refine a preset that is given by its name",
            where=f"target {target.name}",
            hint="give target as a name, or put them into the Target",
        )
    if layout is not None:
        check_layout(layout)
        target = replace(target, layout=layout)
    return target


def _library_name(name: str | None, model: str | Path | onnx.ModelProto) -> str:
    """Return a name that a file, a soname and a loader all take, and that no system library has."""
    if name is None:
        # Anything else than a path or a model is refused by the read stage.
        graph = getattr(model, "graph", None)
        stem = Path(model).stem if isinstance(model, (str, Path)) else getattr(graph, "name", "")
        name = re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_") or "model"
        return f"{name}_model" if f"lib{name}.so" in SYSTEM_LIBRARIES else name
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise UserInputError(
            f"{name!r} cannot be a library's name", hint="use letters, digits and _ for --name"
        )
    if f"lib{name}.so" in SYSTEM_LIBRARIES:
        raise UserInputError(
            f"lib{name}.so is a library of the system", where="--name", hint="choose another name"
        )
    return name
