"""Elementwise operators, their operands broadcast where they are smaller.

    parallel chunks
      vectors

Axes that memory does not tell apart are one axis, so that one vector is left over at the end of a
tensor rather than one in each row.
"""

from __future__ import annotations

from autoglm_tvm.schedules.accesses import accesses_of
from autoglm_tvm.schedules.kernel import Block, Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import schedule_nests
from autoglm_tvm.schedules.rule import Refusal


class Elementwise:
    """Steps that read each operand in the order in which they write."""

    name = "elementwise"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse reductions, and steps that move elements."""
        reduction = next((block for block in kernel.blocks if not block.is_spatial), None)
        if reduction is not None:
            return Refusal(f"{reduction.name} reduces", met=0)
        moving = next((block for block in kernel.blocks if not in_order(block)), None)
        return Refusal(f"{moving.name} moves elements", met=0) if moving else None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Inline all steps into the last, in vectors on all threads."""
        return schedule_nests(kernel, machine)


def in_order(block: Block) -> bool:
    """Whether a spatial block reads its operands in the order in which it writes."""
    accesses = accesses_of(block.statement)
    if accesses is None:
        return False
    axes = [axis for axis, extent in enumerate(block.spatial) if extent != 1]
    if not axes:
        return True
    steps = [load.strides[axes[-1]] for load in accesses.loads]
    return accesses.store.strides[axes[-1]] == 1 and all(step in (0, 1) for step in steps)
