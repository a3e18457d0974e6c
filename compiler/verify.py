"""Is a bundle right? Run it, here or on a device, and compare with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.compare import TensorError, compare
from autoglm_tvm.compiler.per_layer import compare_layers
from autoglm_tvm.compiler.random_inputs import random_inputs, symbolic_sizes
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.compiler.reference_noise import reference_noise
from autoglm_tvm.compiler.reference_steps import step_noise
from autoglm_tvm.compiler.refusal import how_to_bind
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

# Share of the reference's largest magnitude that an output may be off by (float32 networks).
DEFAULT_TOLERANCE = 1e-3
# An output of a quantized model may be off by whole steps, which rounding decides (see
# `reference_steps`): by this much of its energy (24 dB) always, and by three times (nine in power)
# what the reference is off by from itself if that is more.
STEPS_NOISE = 0.004
STEPS_FACTOR = 9.0


class Runner(Protocol):
    """A loaded bundle, on this machine or on a device."""

    @property
    def bundle(self) -> Bundle:
        """The bundle that is loaded."""
        ...

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; names as in the ONNX file."""
        ...

    def run_with_kernel_outputs(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[tuple[str, np.ndarray]]]:
        """Run once and return, beside the outputs, kernel name and result of each kernel call."""
        ...


@dataclass(frozen=True)
class VerifyResult:
    """The verdict on a bundle.

    Attributes
    ----------
    outputs
        Error of each output.
    layers
        Error of each kernel call that computes a named tensor, in the order of execution; empty
        unless asked for.
    tolerance
        Largest relative error that counts as right.
    inputs
        ``"random (seed 0)"``, or ``"given"``.
    same_model
        Whether the reference is byte for byte the file that the bundle was compiled from, or the
        quantized model that its recipe made.
    steps_allowed
        Whether outputs may be off by quantization steps: the reference is a quantized model, and no
        tolerance was asked for.
    steps
        By output, the noise (`TensorError.energy`) of the reference against itself if what is
        quantized is off by a rounding error; empty where no output needs it.
    """

    outputs: tuple[TensorError, ...]
    layers: tuple[TensorError, ...]
    tolerance: float
    inputs: str
    same_model: bool
    steps_allowed: bool = False
    steps: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every output is within the tolerance, below noise, or off by few steps."""
        return all(error.within(self.tolerance) or self.by_steps(error) for error in self.outputs)

    def by_steps(self, error: TensorError) -> bool:
        """Whether an output of a quantized model is off by no more than rounding explains."""
        explained = STEPS_FACTOR * self.steps.get(error.name, 0.0)
        return self.steps_allowed and error.energy <= max(STEPS_NOISE, explained)

    @property
    def worst(self) -> TensorError:
        """The output that is furthest off."""
        return max(self.outputs, key=lambda error: error.relative)

    def to_json(self) -> dict[str, Any]:
        """What ``autoglm-tvm verify --json`` prints."""
        return {
            "ok": self.ok,
            "tolerance": self.tolerance,
            "inputs": self.inputs,
            "same_model": self.same_model,
            "steps_allowed": self.steps_allowed,
            "steps": dict(self.steps),
            "outputs": [error.to_json() for error in self.outputs],
            "layers": [error.to_json() for error in self.layers],
        }


def verify(
    bundle: str | Path | Runner,
    reference: str | Path | onnx.ModelProto,
    inputs: Mapping[str, np.ndarray] | None = None,
    *,
    per_layer: bool = False,
    tolerance: float | None = None,
    seed: int = 0,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
) -> VerifyResult:
    """Compare a bundle's outputs with ONNX Runtime's on the same inputs.

    Parameters
    ----------
    bundle
        A bundle's folder, run on this machine; or a bundle that is loaded already, such as one on a
        device (`autoglm_tvm.rpc`).
    reference
        The ONNX model that the bundle was compiled from; of a bundle that was quantized by a
        recipe, the quantized model that `compile` saved.
    inputs
        One array an input; by default random ones.
    per_layer
        Compare every kernel's result too, by the ONNX tensor that it computes.
    tolerance
        Largest relative error of an output that counts as right; by default `DEFAULT_TOLERANCE`,
        and quantization steps beyond it where the reference is quantized.
    seed
        Seed of the random inputs.
    shapes
        Shapes of random inputs whose dimensions are symbolic; by default sizes that ONNX Runtime
        takes are looked for.

    Raises
    ------
    UserInputError
        The reference is another model, or the inputs do not fit.
    """
    runner = open_bundle(bundle) if isinstance(bundle, (str, Path)) else bundle
    specs = runner.bundle.manifest.inputs
    model = read(reference, {spec.name: spec.shape for spec in specs})
    if model.inputs != specs or _typed(model.outputs) != _typed(runner.bundle.manifest.outputs):
        raise UserInputError(
            "the reference is another model: its inputs or outputs differ from the bundle's",
            where=str(reference) if isinstance(reference, (str, Path)) else "the reference",
            hint="name the ONNX file that the bundle was compiled from",
        )
    quantized = model.quantized is not None or _is_saved(model, runner.bundle)
    steps_allowed = quantized and tolerance is None
    if tolerance is None:
        _check_comparable(runner.bundle, quantized)
        tolerance = DEFAULT_TOLERANCE
    if inputs is not None:
        runner.bundle.check_inputs(inputs)
        given, expected = "given", run_reference(reference, inputs)
    else:
        trial = _random_trial(specs, model, reference, seed, shapes or {})
        given, inputs, expected = trial
    if per_layer:
        outputs, kernels = runner.run_with_kernel_outputs(inputs)
        layers = compare_layers(model, runner.bundle.manifest, inputs, kernels)
    else:
        outputs, layers = runner.run(inputs), ()
    noise = reference_noise(model.proto.graph)
    errors = tuple(
        compare(name, outputs[name], array, noise[name]) for name, array in expected.items()
    )
    same_model = model.source_sha256 == runner.bundle.manifest.model_sha256
    same_model = same_model or _is_saved(model, runner.bundle)
    result = VerifyResult(errors, layers, tolerance, given, same_model, steps_allowed)
    if steps_allowed and not result.ok:
        result = replace(result, steps=step_noise(model, inputs, expected))
    return result


def _is_saved(model: ReadModel, bundle: Bundle) -> bool:
    """Whether a model is the one that the bundle's recipe made, as `compile` saves it."""
    saved = (bundle.manifest.quantization or {}).get("model_sha256")
    return model.source_sha256 == saved


def _check_comparable(bundle: Bundle, quantized: bool) -> None:
    """Refuse to judge a bundle that a recipe quantized by the float model.

    Raises
    ------
    UserInputError
        It is off on purpose; the hint says what to verify it by.
    """
    recipe = (bundle.manifest.quantization or {}).get("recipe")
    if recipe is None or quantized:
        return
    raise UserInputError(
        f"the bundle was quantized (recipe {recipe}), so its outputs differ from the float "
        "model's on purpose",
        where=str(bundle.directory),
        hint="verify it by the quantized model: compile once more with --save-quantized FILE.onnx, "
        "then verify --reference FILE.onnx; or say with --tolerance how far it may be off. What "
        "the recipe cost is in report.json",
    )


def _random_trial(
    specs: tuple[TensorSpec, ...],
    model: ReadModel,
    reference: str | Path | onnx.ModelProto,
    seed: int,
    shapes: Mapping[str, Sequence[int | str]],
) -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return what the inputs are, random inputs, and the reference's outputs for them.

    Not every size of a symbolic dimension makes sense to a network, so the first one counts that
    the reference takes.
    """
    bound = _bound_sizes(specs, shapes)
    error: UserInputError | None = None
    for sizes in symbolic_sizes(specs, bound):
        inputs = random_inputs(specs, model.proto.graph, seed, sizes)
        try:
            expected = run_reference(reference, inputs)
        except UserInputError as refused:
            error = error or refused
            continue
        chosen = "".join(f", {name} = {size}" for name, size in sizes.items())
        return f"random (seed {seed}{chosen})", inputs, expected
    raise UserInputError(
        f"no random inputs were found that the reference takes: {error.what if error else ''}",
        where=str(reference) if isinstance(reference, (str, Path)) else "the reference",
        hint=f"{how_to_bind(specs)}or give real inputs with --inputs",
    )


def _bound_sizes(
    specs: tuple[TensorSpec, ...], shapes: Mapping[str, Sequence[int | str]]
) -> dict[str, int]:
    """Return the size of each symbolic dimension that ``shapes`` fixes."""
    known = {spec.name: spec for spec in specs}
    sizes: dict[str, int] = {}
    for name, shape in shapes.items():
        spec = known.get(name)
        if spec is None or len(spec.shape) != len(shape):
            takes = "; ".join(str(item) for item in specs)
            raise UserInputError(
                f"no input takes the shape {name}={','.join(map(str, shape))}",
                where="--shape",
                hint=f"the bundle takes {takes}",
            )
        pairs = zip(spec.shape, shape, strict=True)
        sizes.update(
            {dim: size for dim, size in pairs if isinstance(dim, str) and isinstance(size, int)}
        )
    return sizes


def _typed(specs: tuple[TensorSpec, ...]) -> list[tuple[str, str]]:
    """Names and dtypes: what is known of output shapes depends on who infers them."""
    return [(spec.name, spec.dtype) for spec in specs]
