"""Stage `schedule`: decide for every kernel how its loops run on the target."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.manifest import KernelEntry
from autoglm_tvm.compiler.optimise import OptimisedModel
from autoglm_tvm.schedules import apply_default_schedules
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
        left = {entry.function for entry in self.kernels if "unscheduled" in entry.schedule}
        names = {entry.function for entry in self.kernels}
        return f"{len(names) - len(left)} of {len(names)} kernels scheduled"

    def dump(self, directory: Path) -> None:
        """Write the module as TVMScript and what was done to each kernel."""
        (directory / "schedule.py.txt").write_text(self.module.script(), encoding="utf-8")
        lines = sorted({f"{entry.function}: {entry.schedule}" for entry in self.kernels})
        (directory / "schedule.rules.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def schedule(model: OptimisedModel, target: Target) -> ScheduledModel:
    """Apply the default schedules to the kernels of an optimised model."""
    import tvm

    with tvm.target.Target(target.to_tvm_dict()):
        scheduled = apply_default_schedules(model.module, target)
    kernels = tuple(
        KernelEntry(name, origin.operators, origin.tensor, scheduled.descriptions[name])
        for name, origin in model.calls
    )
    return ScheduledModel(scheduled.module, kernels)
