"""What MetaSchedule starts from: the kernel with the decisions that are not searched taken.

Steps are inlined and long sums split as our own rules do it (`inlining`, `split_reductions`), so
every candidate adds up in the same pieces as the default schedule, whatever the search does and on
however many threads. Blocks are numbered, because traces find them by name and the importer names
them after tensors: a trace found in one model fits the same kernel of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.kernel import Kernel, constant
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.nests import inline_steps
from autoglm_tvm.schedules.reducing import plan_reductions, split

if TYPE_CHECKING:
    from tvm import IRModule, tirx

# The name under which TVM's search knows the only function.
MAIN = "main"
# Attributes of a kernel that say what its body means.
_KEPT = {"s_tir", "tirx.noalias"}


@dataclass(frozen=True)
class Workload:
    """A kernel prepared for the search.

    Attributes
    ----------
    module
        The prepared kernel as `main`.
    digest
        Hash of its structure: names of tensors do not count.
    blocks
        Names of its blocks, in order.
    iterations
        How often their innermost statements run, all together.
    """

    module: IRModule
    digest: str
    blocks: tuple[str, ...]
    iterations: int


def prepare(function: tirx.PrimFunc, machine: Machine) -> Workload:
    """Inline, split and number the blocks of an unscheduled kernel.

    Raises
    ------
    ValueError
        TVM's schedules cannot describe the kernel, its sizes are symbolic, or one is zero.
    """
    import tvm
    import tvm_ffi

    plain = _plain(function)
    try:
        kernel = Kernel(plain)
        names = inline_steps(kernel)
        handles = [kernel.schedule.get_sblock(name) for name in names]
        plans = plan_reductions(kernel.schedule, handles, machine)
        kernel.restart(split(kernel.schedule, plans))
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"TVM's schedules cannot describe the kernel: {reason}") from error
    if any(None in (*block.spatial, *block.reduced) for block in kernel.blocks):
        raise ValueError("a size of the kernel is symbolic")
    numbers = {block.name: f"block{number}" for number, block in enumerate(kernel.blocks)}
    if len(numbers) < len(kernel.blocks):
        raise ValueError("two blocks of the kernel have the same name")
    prepared = _renamed(kernel.schedule.mod[MAIN], numbers)
    module = tvm.IRModule({MAIN: prepared})
    digest = f"{tvm_ffi.structural_hash(module) & (1 << 64) - 1:016x}"
    iterations = sum(block.iterations for block in kernel.blocks)
    if not iterations:
        raise ValueError("the kernel computes nothing")
    return Workload(module, digest, tuple(numbers.values()), iterations)


def restored(scheduled: tirx.PrimFunc, function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The scheduled kernel with the attributes of the unscheduled one."""
    content: Any = scheduled
    original: Any = function
    return content.with_attr(dict(original.attrs.items()))


def _plain(function: tirx.PrimFunc) -> tirx.PrimFunc:
    """The kernel without what passes on the graph wrote on it, such as how it may be fused."""
    content: Any = function
    for name in set(content.attrs.keys()) - _KEPT:
        content = content.without_attr(name)
    return content


def _renamed(function: Any, names: dict[str, str]) -> Any:
    import tvm_ffi
    from tvm import s_tir

    def rename(block: Any) -> Any:
        if block.name_hint not in names:
            return block
        return s_tir.SBlock(
            block.iter_vars,
            block.reads,
            block.writes,
            names[block.name_hint],
            block.body,
            block.init,
            block.alloc_buffers,
            block.match_buffers,
            block.annotations,
        )

    return function.with_body(tvm_ffi.structural_map(function.body, (s_tir.SBlock, rename)))


def sizes(schedule: Any, loops: list[Any]) -> list[int]:
    """The extents of loops, which are constant in a workload."""
    return [constant(schedule.get(loop).extent) or 0 for loop in loops]
