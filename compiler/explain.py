"""How each kernel of a bundle or of a model is scheduled, and why no special rule took it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.artifacts.manifest import KernelEntry
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.compile import refined_target
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.integer import NodeExecution
from autoglm_tvm.compiler.integer.node_execution import shares
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.quantize import quantize
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.refusal import refusal
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.schedules import FALLBACK as FALLBACK_RULE
from autoglm_tvm.targets import Target
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean
from autoglm_tvm.targets.versions import check_versions

if TYPE_CHECKING:
    import onnx

UNSCHEDULED, FALLBACK, SPECIAL = "unscheduled", "fallback", "special"
_WORST_FIRST = (UNSCHEDULED, FALLBACK, SPECIAL)


@dataclass(frozen=True)
class KernelExplanation:
    """One kernel with all of its calls.

    Attributes
    ----------
    function, operators, arguments, rule, description, closest_rule, refusal
        As in the manifest (`KernelEntry`).
    kind
        ``special``: a rule for its family of operators took it; ``fallback``: the one that takes
        every loop nest did; ``unscheduled``: none.
    calls
        In one run.
    tensors
        The ONNX tensors that the calls return, where they have a name.
    inner
        The ONNX tensors that exist only inside of the calls.
    iterations
        Of all calls together, about their multiply-adds; ``None`` where not known.
    hint
        What would let a special rule take it; empty where nothing is known.
    """

    function: str
    kind: str
    calls: int
    operators: tuple[str, ...]
    tensors: tuple[str, ...]
    inner: tuple[str, ...]
    arguments: tuple[str, ...]
    rule: str
    description: str
    closest_rule: str
    refusal: str
    iterations: int | None
    hint: str


@dataclass(frozen=True)
class Explanation:
    """How the kernels of a network were scheduled.

    Attributes
    ----------
    source
        The bundle's folder or the model's file.
    target
        The preset it is compiled for.
    kernels
        Those to worry about first: unscheduled, then fallback (what another rule nearly took, then
        what none has anything in common with), then special; the most iterations first.
    nodes
        How each node of a quantized model runs; empty for others.
    """

    source: str
    target: str
    kernels: tuple[KernelExplanation, ...]
    nodes: tuple[NodeExecution, ...] = ()

    def by_rule(self) -> dict[str, int]:
        """How many kernels each rule took; the empty name counts the unscheduled ones."""
        return dict(Counter(kernel.rule for kernel in self.kernels).most_common())

    def iterations(self, *kinds: str) -> int:
        """Iterations of the kernels of these kinds together, where they are known."""
        return sum(kernel.iterations or 0 for kernel in self.kernels if kernel.kind in kinds)

    def select(self, pattern: str | None = None, tensor: str | None = None) -> Explanation:
        """Return the explanation with those kernels alone that fit both.

        Parameters
        ----------
        pattern
            Of the function's name, with ``*`` and ``?``.
        tensor
            An ONNX tensor that the kernel computes, be it on the way.

        Raises
        ------
        UserInputError
            No kernel fits; near matches are named.
        """
        kernels = self.kernels
        if pattern is not None:
            names = [kernel.function for kernel in kernels]
            kernels = tuple(kernel for kernel in kernels if fnmatchcase(kernel.function, pattern))
            _require(kernels, f"no kernel's name fits {pattern!r}", pattern, names)
        if tensor is not None:
            names = [name for kernel in kernels for name in (*kernel.tensors, *kernel.inner)]
            kernels = tuple(k for k in kernels if tensor in (*k.tensors, *k.inner))
            _require(kernels, f"no kernel computes the tensor {tensor!r}", tensor, names)
        return replace(self, kernels=kernels)

    def to_json(self) -> dict[str, Any]:
        """What ``autoglm-tvm explain --json`` prints."""
        ways = [asdict(share) for share in shares(self.nodes)]
        return asdict(self) | {"rules": self.by_rule(), "runs": ways}


def explain(
    source: str | Path | onnx.ModelProto,
    target: str | Target | None = None,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    threads: int | None = None,
    cpu: str | None = None,
    features: str | None = None,
    layout: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Explanation:
    """Say how each kernel is scheduled, and where no special rule took it, why.

    Parameters
    ----------
    source
        A bundle's folder; or an ONNX file or a model in memory, which is compiled as far as the
        schedules, and nothing is written.
    target, shapes, threads, cpu, features, layout
        As for `compile`, of a model only; the target is this machine unless given.
    progress
        Called with the name of each stage as it begins.

    Raises
    ------
    UserInputError
        There is no such bundle or model, it cannot be compiled, or a bundle came with a target.
    CheckFailedError
        A file of the bundle is not the one that was written.
    """
    report = progress or (lambda _: None)
    if isinstance(source, (str, Path)) and Path(source).is_dir():
        if (target, shapes or None, threads, cpu, features, layout) != (None,) * 6:
            raise UserInputError(
                "a bundle is compiled already: its target and shapes are settled",
                where=str(source),
                hint="leave target and shapes out, or name the ONNX file",
            )
        report("compare every file with its hash")
        manifest = read_bundle(source).manifest
        found = _kernels(manifest.kernels, manifest.inputs, manifest.target["layout"])
        nodes = tuple(map(NodeExecution.from_json, (manifest.quantization or {}).get("nodes", ())))
        return Explanation(str(source), manifest.target["name"], found, nodes)
    check_versions()
    chosen = refined_target(target or "host", layout, cpu=cpu, features=features, threads=threads)
    report("read")
    graph = read(source, shapes)
    report("quantize")
    quantized = quantize(graph, chosen)
    report("import")
    imported = import_onnx(quantized.model)
    report("optimise")
    with refusal("optimise", graph.inputs):
        optimised = optimise(imported, chosen)
    report("schedule")
    entries = schedule(optimised, chosen).kernels
    name = str(source) if isinstance(source, (str, Path)) else source.graph.name
    kernels = _kernels(entries, graph.inputs, chosen.layout)
    return Explanation(name, chosen.name, kernels, quantized.nodes)


def _kernels(
    entries: Sequence[KernelEntry], inputs: Sequence[TensorSpec], layout: str
) -> tuple[KernelExplanation, ...]:
    calls: dict[str, list[KernelEntry]] = {}
    for entry in entries:
        calls.setdefault(entry.function, []).append(entry)
    kernels = [_kernel(each, inputs, layout) for each in calls.values()]
    return tuple(sorted(kernels, key=_worry))


def _worry(kernel: KernelExplanation) -> tuple[int, bool, float, str]:
    """Order: what a rule nearly took was meant for it; elementwise steps need none of their own."""
    iterations = float("inf") if kernel.iterations is None else kernel.iterations
    nobodys = not kernel.closest_rule
    return _WORST_FIRST.index(kernel.kind), nobodys, -iterations, kernel.function


def _kernel(
    calls: Sequence[KernelEntry], inputs: Sequence[TensorSpec], layout: str
) -> KernelExplanation:
    entry = calls[0]
    kind = UNSCHEDULED if not entry.rule else FALLBACK if entry.rule == FALLBACK_RULE else SPECIAL
    return KernelExplanation(
        function=entry.function,
        kind=kind,
        calls=len(calls),
        operators=entry.operators,
        tensors=tuple(call.output for call in calls if call.output),
        inner=tuple(name for call in calls for name in call.inner),
        arguments=entry.arguments,
        rule=entry.rule,
        description=entry.description,
        closest_rule=entry.closest_rule,
        refusal=entry.refusal,
        iterations=None if entry.iterations is None else entry.iterations * len(calls),
        hint=_hint(entry, inputs, layout) if kind == FALLBACK else "",
    )


def _hint(entry: KernelEntry, inputs: Sequence[TensorSpec], layout: str) -> str:
    """What the user can change so that a special rule takes the kernel."""
    symbolic = [spec for spec in inputs if any(isinstance(dim, str) for dim in spec.shape)]
    if entry.iterations is None and symbolic:
        shapes = " ".join(
            f"--shape {spec.name}={','.join(str(dim) for dim in spec.shape)}" for spec in symbolic
        )
        return f"rules need fixed sizes; compile with numbers for the names in {shapes}"
    if layout == "NCHW" and any("conv2d" in name for name in entry.operators):
        return "the rules for convolutions are for channels last; compile with --layout NHWC"
    return ""


def _require(found: Sequence[Any], what: str, wanted: str, names: Sequence[str]) -> None:
    if not found:
        raise UserInputError(
            what + did_you_mean(wanted, names),
            hint="--all lists every kernel; a reshape is a view of another tensor and needs none",
        )
