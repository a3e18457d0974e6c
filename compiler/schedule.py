"""Stage `schedule`: decide for every kernel how its loops run on the target."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.manifest import KernelEntry
from autoglm_tvm.compiler.optimise import OptimisedModel
from autoglm_tvm.compiler.passes.provenance import Origin
from autoglm_tvm.schedules import ScheduledModule, apply_default_schedules
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.workload import kernel_workload
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from tvm import IRModule


@dataclass(frozen=True)
class ScheduledModel:
    """A module with scheduled kernels, and one entry for each call of one, in calling order."""

    module: IRModule
    kernels: tuple[KernelEntry, ...]

    def summary(self) -> str:
        """One line for people."""
        left = {entry.function for entry in self.kernels if not entry.rule}
        names = {entry.function for entry in self.kernels}
        return f"{len(names) - len(left)} of {len(names)} kernels scheduled"

    def dump(self, directory: Path) -> None:
        """Write the module as TVMScript and what was done to each kernel."""
        (directory / "schedule.py.txt").write_text(self.module.script(), encoding="utf-8")
        lines = sorted({f"{entry.function}: {entry.schedule}" for entry in self.kernels})
        (directory / "schedule.rules.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def schedule(
    model: OptimisedModel, target: Target, choices: Choices | None = None
) -> ScheduledModel:
    """Schedule the kernels of an optimised model: as `choices` say, the others by default."""
    import tvm

    choices = choices or Choices()
    workloads = workloads_of(model)
    configs = {name: choices.of(workload) for name, workload in workloads.items()}
    with tvm.target.Target(target.to_tvm_dict()):
        scheduled = apply_default_schedules(model.module, target, configs)
    kernels = tuple(
        _entry(model.module, scheduled, name, origin, workloads[name])
        for name, origin in model.calls
    )
    return ScheduledModel(scheduled.module, kernels)


def workloads_of(model: OptimisedModel) -> dict[str, str]:
    """The workload of each kernel that is called, by the kernel's name."""
    origins = dict(model.calls)
    return {
        name: kernel_workload(model.module[name], origin.operators)
        for name, origin in origins.items()
    }


def _entry(
    unscheduled: IRModule, scheduled: ScheduledModule, name: str, origin: Origin, workload: str
) -> KernelEntry:
    decision = scheduled.decisions[name]
    return KernelEntry(
        function=name,
        operators=origin.operators,
        output=origin.tensor,
        inner=origin.inner,
        arguments=_arguments(unscheduled[name]),
        workload=workload,
        **asdict(decision),
    )


def _arguments(function: Any) -> tuple[str, ...]:
    """Type and shape of each tensor that a kernel takes, the results last."""
    tensors = [param for param in function.params if getattr(param, "shape", None) is not None]
    return tuple(f"{param.dtype}[{_dims(param.shape)}]" for param in tensors)


def _dims(shape: Any) -> str:
    # TVM prints a symbolic size with the type of its constants: n + T.int64(1).
    return ", ".join(re.sub(r"T\.int\d+\((-?\d+)\)", r"\1", str(dim)) for dim in shape)
