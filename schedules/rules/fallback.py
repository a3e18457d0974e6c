"""The rule for every kernel: each loop nest on its own, in vectors and on all threads."""

from __future__ import annotations

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import schedule_nests, schedule_outer_loops
from autoglm_tvm.schedules.rule import Refusal


class Fallback:
    """Elementwise steps inlined, nests vectorised and parallel; takes every kernel."""

    name = "fallback"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse nothing."""
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule what is left after inlining, nest by nest."""
        from tvm import s_tir

        function = kernel.schedule.mod["main"]
        try:
            return schedule_nests(kernel, machine)
        except s_tir.ScheduleError:
            # What TVM cannot prove of unusual indices still runs on all threads.
            kernel.restart(function)
            return schedule_outer_loops(kernel, machine)
