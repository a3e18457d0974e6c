"""Stage `optimise`: graph passes, then operators become loops, then operators are fused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.import_onnx import ImportedModel
from autoglm_tvm.compiler.passes.clip_gather import clip_gather
from autoglm_tvm.compiler.passes.fold_batch_norm import fold_batch_norm
from autoglm_tvm.compiler.passes.fold_with_numpy import fold_with_numpy
from autoglm_tvm.compiler.passes.fuse_attention import fuse_attention
from autoglm_tvm.compiler.passes.fuse_normalization import fuse_normalization
from autoglm_tvm.compiler.passes.half_weights import store_half_weights
from autoglm_tvm.compiler.passes.layout import convert_layout
from autoglm_tvm.compiler.passes.legalize_normalization import legalize_normalization
from autoglm_tvm.compiler.passes.lift_weights import lift_weights
from autoglm_tvm.compiler.passes.pack_int4_matmul import pack_int4_matmul
from autoglm_tvm.compiler.passes.pack_integer_conv2d import pack_integer_conv2d
from autoglm_tvm.compiler.passes.pack_integer_depthwise import pack_integer_depthwise
from autoglm_tvm.compiler.passes.pack_integer_matmul import pack_integer_matmul
from autoglm_tvm.compiler.passes.pack_operators import pack_operators
from autoglm_tvm.compiler.passes.provenance import Origin, trace_kernels
from autoglm_tvm.compiler.passes.quantize_as_arithmetic import quantize_as_arithmetic
from autoglm_tvm.compiler.passes.reduce_from_infinity import legalize_extremes
from autoglm_tvm.compiler.passes.share_scalars import share_scalars
from autoglm_tvm.compiler.passes.unique_names import unique_names
from autoglm_tvm.compiler.passes.wide_accumulators import widen_accumulators
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.compiler.passes.widen_bytes_late import widen_bytes_late
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    import numpy as np
    from tvm import IRModule


@dataclass(frozen=True)
class OptimisedModel:
    """A module of fused loop nests, with its constants apart.

    Attributes
    ----------
    module
        ``main`` takes the inputs, then the weights; every kernel is a ``PrimFunc``.
    weights
        Name and value of each weight in calling order.
    calls
        Kernel name and origin of each call in ``main``, in the order of execution.
    """

    module: IRModule
    weights: list[tuple[str, np.ndarray]]
    calls: list[tuple[str, Origin]]

    def summary(self) -> str:
        """One line for people."""
        operators = sum(len(origin.operators) for _, origin in self.calls)
        kernels = len({name for name, _ in self.calls})
        megabytes = sum(array.nbytes for _, array in self.weights) / 1e6
        return (
            f"{operators} operators fused into {len(self.calls)} calls of {kernels} kernels, "
            f"{megabytes:.1f} MB of weights"
        )

    def dump(self, directory: Path) -> None:
        """Write the module as TVMScript and what was fused into each call."""
        (directory / "optimise.py.txt").write_text(self.module.script(), encoding="utf-8")
        lines = [
            f"{name} -> {origin.tensor or '(unnamed)'}: {' + '.join(origin.operators)}"
            for name, origin in self.calls
        ]
        (directory / "optimise.fusion.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def optimise(
    model: ImportedModel, target: Target, choices: Choices | None = None
) -> OptimisedModel:
    """Run the graph passes, lower operators to loops, fuse, and lift the weights out.

    Parameters
    ----------
    model
        What the import stage returned.
    target
        The machine to compile for, and the layout of activations that suits it.
    choices
        How tuned operators are lowered; learns how each other one can be.
    """
    import tvm

    choices = choices or Choices()

    # Folding constants compiles kernels too.
    with tvm.target.Target(target.to_tvm_dict()), wide_indices():
        module = _optimise_graph(model.module, target.layout)
        machine = machine_of(target)
        if model.half_weights and machine.half_conversion:
            module = store_half_weights(module)
        module = fuse_attention(share_scalars(module), machine, choices)
        module = pack_integer_matmul(module, machine, choices)
        module = pack_integer_conv2d(module, machine, choices)
        module = pack_integer_depthwise(module, machine)
        module = pack_int4_matmul(module, machine)
        module = widen_bytes_late(module)
        unfused = _lower_operators(module, machine, choices)
        module, origins = _fuse(unfused, model.tensor_names)
        module, weights = lift_weights(module)
    return OptimisedModel(module, weights, _calls(module, origins))


def _optimise_graph(module: IRModule, layout: str) -> IRModule:
    """Passes on operators: exact, and independent of the machine but for the layout."""
    from tvm import relax, transform

    fold = relax.transform.FoldConstant()
    clean = relax.transform.DeadCodeElimination(["main"])
    # A graph with an If comes without dataflow blocks, in which alone operators are fused.
    dataflow = relax.transform.ConvertToDataflow()
    canonical = relax.transform.CanonicalizeBindings()
    module = fold_with_numpy(clip_gather(quantize_as_arithmetic(module)))
    module = transform.Sequential([dataflow, canonical, fold, clean])(module)
    module = fuse_normalization(widen_accumulators(fold_batch_norm(module)))
    # What was not folded into a convolution becomes a multiplication and an addition.
    module = relax.transform.DecomposeOpsForInference()(module)
    module = convert_layout(module, layout)
    return transform.Sequential([relax.transform.CanonicalizeBindings(), fold, clean])(module)


def _lower_operators(module: IRModule, machine: Machine, choices: Choices) -> IRModule:
    """Every operator becomes a call of a loop nest, and knows how it may be fused."""
    from tvm import relax, transform

    return transform.Sequential(
        [
            relax.backend.DispatchSampling(),
            relax.backend.DispatchSortScan(),
            relax.transform.LegalizeOps(
                legalize_extremes() | legalize_normalization() | pack_operators(machine, choices)
            ),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FoldConstant(),
            relax.transform.DeadCodeElimination(["main"]),
        ]
    )(module)


def _fuse(module: IRModule, tensor_names: dict[str, str]) -> tuple[IRModule, dict[str, Origin]]:
    from tvm import relax, transform

    fused = unique_names(relax.transform.FuseOps()(module))
    origins = trace_kernels(module, fused, tensor_names)
    finish = [
        relax.transform.FuseTIR(),
        # A reshape becomes another view of the same memory, so its kernel is not needed.
        relax.transform.RewriteDataflowReshape(),
        relax.transform.DeadCodeElimination(["main"]),
    ]
    return transform.Sequential(finish)(fused), origins


def _calls(module: IRModule, origins: dict[str, Origin]) -> list[tuple[str, Origin]]:
    from tvm import ir, relax

    calls: list[tuple[str, Origin]] = []
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            value: Any = binding.value
            if isinstance(value, relax.Call) and value.op == ir.Op.get("relax.call_tir"):
                origin = origins.get(binding.var.name, Origin((), ""))
                kernel: Any = value.args[0]
                calls.append((kernel.name_hint, origin))
    return calls
