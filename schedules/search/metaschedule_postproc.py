"""What MetaSchedule does to every candidate after its choices are made."""

from __future__ import annotations

from typing import Any


def postprocessors() -> list[Any]:
    """Marks become loops, and the beginnings of reductions are taken out of them.

    The caller must keep the list: TVM holds only weak references to what Python defines.
    """
    from tvm.ir.utils import derived_object
    from tvm.s_tir.meta_schedule import postproc

    @derived_object
    class DecomposeReductions(postproc.PyPostproc):
        """In place of `RewriteReductionBlock`, which takes a beginning out of foreign loops too."""

        def _initialize_with_tune_context(self, context: Any) -> None:
            """Nothing depends on the target."""

        def apply(self, sch: Any) -> bool:
            """Change the schedule; nothing is ever thrown away here."""
            decompose_reductions(sch)
            return True

        def clone(self) -> Any:
            """Another one."""
            return DecomposeReductions()

    derived: Any = DecomposeReductions
    return [postproc.RewriteParallelVectorizeUnroll(), derived()]


def decompose_reductions(schedule: Any) -> None:
    """Take the beginning of every reduction out of the loops over what it reduces.

    TVM's `RewriteReductionBlock` takes it out of any loop that some block reduces along. A sum
    inside of such a loop, in parts that overlap, then begins once and is added up twice.
    """
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        statement = schedule.get(block)
        if statement.init is None:
            continue
        loops = schedule.get_loops(block)
        reduced = _reduced_variables(schedule, loops, statement)
        own = [
            loop
            for loop in loops
            if any(schedule.get(loop).loop_var.same_as(variable) for variable in reduced)
        ]
        if own:
            schedule.decompose_reduction(block, own[0])


def _reduced_variables(schedule: Any, loops: list[Any], statement: Any) -> list[Any]:
    """The loop variables that the reduced axes of a block depend on."""
    import tvm_ffi
    from tvm import s_tir, tirx

    realizes: list[Any] = []
    if loops:
        tvm_ffi.structural_walk(
            schedule.get(loops[-1]).body, (s_tir.SBlockRealize, realizes.append)
        )
    found: list[Any] = []
    for realize in realizes:
        if not realize.block.same_as(statement):
            continue
        for axis, value in zip(statement.iter_vars, realize.iter_values, strict=True):
            if axis.iter_type != axis.DataPar:
                tvm_ffi.structural_walk(value, (tirx.Var, found.append))
    return found
