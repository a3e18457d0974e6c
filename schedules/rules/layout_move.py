"""Moves of elements: transpose, concatenation, padding, slice, gather, resize.

parallel rows
  vectors along the contiguous axis; tiles by way of registers where what is contiguous to read
  is not contiguous to write
"""

from __future__ import annotations

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import schedule_nests
from autoglm_tvm.schedules.rule import Refusal


class LayoutMove:
    """Everything that reduces nothing and that `Elementwise` leaves."""

    name = "layout-move"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse reductions."""
        reduction = next((block for block in kernel.blocks if not block.is_spatial), None)
        return Refusal(f"{reduction.name} reduces", met=0) if reduction else None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Inline all steps into the last, in vectors or tiles on all threads."""
        return schedule_nests(kernel, machine)
