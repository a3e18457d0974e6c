"""Sums, means, maxima and minima, global and windowed pooling.

Memory contiguous along a kept axis (NHWC pooling, sums of columns):

    parallel pieces of the sum, parallel tiles
      reduced axes
        tile of a few vectors in registers
      epilogue on the tile

Memory contiguous along the reduced axis (sums of rows, NCHW global pooling):

    parallel rows, parallel pieces of the sum
      lanes in registers, then the lanes
"""

from __future__ import annotations

from math import prod

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import schedule_nests
from autoglm_tvm.schedules.reducing import plan_reductions
from autoglm_tvm.schedules.rule import Refusal


class Reduction:
    """One reduction of one operand, and what fusion put before and behind it."""

    name = "reduction"

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Refuse products, several reductions, and those that vectors do not help."""
        reductions = [block for block in kernel.blocks if not block.is_spatial]
        if len(reductions) != 1:
            return Refusal(f"it has {len(reductions)} reductions", met=0)
        plans = plan_reductions(kernel.schedule, [reductions[0].handle], machine)
        if reductions[0].name not in plans:
            return Refusal("it reduces to several results at once", met=0)
        plan = plans[reductions[0].name]
        if plan.is_product:
            return Refusal("it is a product of operands that repeat", met=0)
        short = prod(extent or plan.vector for extent in reductions[0].reduced) < plan.vector
        if plan.along == "neither" and not short:
            return Refusal("its operand is contiguous along no axis that vectors fit", met=1)
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Reduce in vectors, in pieces where there are many elements."""
        return schedule_nests(kernel, machine)
