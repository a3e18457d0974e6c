"""Apply the default schedule to every kernel of a module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.outer_parallel import schedule_outer_parallel
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from tvm import IRModule


@dataclass(frozen=True)
class ScheduledModule:
    """A module whose kernels are scheduled.

    Attributes
    ----------
    module
        The module with new bodies of its ``PrimFunc`` kernels.
    descriptions
        For each kernel what was done to its loops.
    """

    module: IRModule
    descriptions: dict[str, str]


def apply_default_schedules(module: IRModule, target: Target) -> ScheduledModule:
    """Schedule every ``PrimFunc``; the module that is given stays as it is."""
    from tvm import IRModule, tirx

    functions = {}
    descriptions: dict[str, str] = {}
    content: Any = module
    for variable, function in content.functions.items():
        if isinstance(function, tirx.PrimFunc):
            function, description = schedule_outer_parallel(function, target.threads)
            descriptions[variable.name_hint] = description
        functions[variable] = function
    return ScheduledModule(IRModule(functions, attrs=content.attrs), descriptions)
