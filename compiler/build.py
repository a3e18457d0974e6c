"""Stage `build`: plan the memory, generate machine code and the program that calls it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.compiler.refusal import refusal
from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from tvm import IRModule


@dataclass(frozen=True)
class BuiltModel:
    """Machine code that is not linked yet.

    Attributes
    ----------
    executable
        TVM's executable of the virtual machine with its kernels.
    module
        ``main`` with its memory planned, for reading.
    activations_peak_bytes
        Bytes planned for intermediate tensors and outputs; ``None`` where a size is symbolic.
    """

    executable: Any
    module: IRModule
    activations_peak_bytes: int | None

    def summary(self) -> str:
        """One line for people."""
        if self.activations_peak_bytes is None:
            return "activations depend on symbolic dimensions"
        return f"{self.activations_peak_bytes / 1e6:.2f} MB of activations at the peak"

    def dump(self, directory: Path) -> None:
        """Write the planned module, the virtual machine's program and the LLVM IR and assembly."""
        (directory / "build.py.txt").write_text(self.module["main"].script(), encoding="utf-8")
        (directory / "build.vm.txt").write_text(self.executable.as_text(), encoding="utf-8")
        for module in self.executable.mod.imports:
            if module.kind == "llvm":
                for form in ("ll", "s"):
                    text = module.inspect_source(form)
                    (directory / f"build.{form}").write_text(text, encoding="utf-8")


def build(module: IRModule, target: Target, inputs: Sequence[TensorSpec]) -> BuiltModel:
    """Lower a scheduled module and compile its kernels with LLVM.

    ``inputs`` are only for the message of an error.

    Raises
    ------
    UserInputError
        TVM cannot generate code for a kernel.
    """
    import tvm
    from tvm import relax

    tvm_target = tvm.target.Target(target.to_tvm_dict())
    with tvm_target, wide_indices(), refusal("generate code for", inputs):
        planned = _plan_memory(_with_a_kernel(module))
        peak = _planned_bytes(planned["main"])
        executable = relax.build(
            _lower_calls(planned),
            tvm_target,
            relax_pipeline=None,
            tir_pipeline=register_pipeline(),
            exec_mode="bytecode",
        )
    return BuiltModel(executable, planned, peak)


def _with_a_kernel(module: IRModule) -> IRModule:
    """Return the module with a kernel that nothing calls, if it has none of its own.

    A network that only hands on inputs and constants needs no code, but TVM's export writes C
    instead of an object file where there is no LLVM module.
    """
    from tvm import te, tirx

    content: Any = module
    if any(isinstance(function, tirx.PrimFunc) for function in content.functions.values()):
        return module
    source: Any = te.placeholder((1,), "int32", "source")
    result: Any = te.compute((1,), lambda i: source[i], "copy")
    copy: Any = te.create_prim_func([source, result])
    content["unused"] = copy.with_attr("global_symbol", "unused")
    return content


def _plan_memory(module: IRModule) -> IRModule:
    from tvm import relax, transform

    return transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
        ]
    )(module)


def _lower_calls(module: IRModule) -> IRModule:
    from tvm import relax, transform

    return transform.Sequential(
        [
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
            relax.transform.AttachGlobalSymbol(),
        ]
    )(module)


def _planned_bytes(main: Any) -> int | None:
    """Sum what ``main`` allocates: shared storages, and tensors outside of the plan (outputs)."""
    from tvm import relax, tirx

    sizes: list[int | None] = []

    def visit(node: Any) -> None:
        operator = getattr(getattr(node, "op", None), "name", "")
        if operator == "relax.memory.alloc_storage":
            item_bytes = 1
        elif operator == "relax.builtin.alloc_tensor":
            item_bytes = _item_bytes(node.args[1].value)
        else:
            return
        dims = list(node.args[0].values)
        fixed = all(isinstance(dim, tirx.IntImm) for dim in dims)
        sizes.append(prod(int(dim) for dim in dims) * item_bytes if fixed else None)

    relax.analysis.post_order_visit(main, visit)
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _item_bytes(dtype: object) -> int:
    import tvm

    return tvm.DataType(str(dtype)).itemsize
