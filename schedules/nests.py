"""Schedule every loop nest of a kernel on its own, elementwise steps inlined."""

from __future__ import annotations

from collections import Counter

from autoglm_tvm.schedules.inlining import inline_spatial, is_spatial
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine
from autoglm_tvm.schedules.reducing import outer_loops, plan_reductions, reduce, split
from autoglm_tvm.schedules.spatial import spread


def schedule_nests(kernel: Kernel, machine: Machine) -> str:
    """Vectorise the nests and run them on all threads; say what was done to each."""
    names = inline_steps(kernel)
    blocks = [kernel.schedule.get_sblock(name) for name in names]
    plans = plan_reductions(kernel.schedule, blocks, machine)
    kernel.restart(split(kernel.schedule, plans))
    schedule = kernel.schedule
    done: set[str] = set()
    texts: Counter[str] = Counter()
    for name in names:
        if name in done:
            continue
        block = schedule.get_sblock(name)
        if is_spatial(schedule, block):
            texts[spread(schedule, block, machine)] += 1
        else:
            finished, text = reduce(schedule, plans.get(name), block, machine)
            done |= set(finished)
            texts[text] += 1
    return "; ".join(f"{count} x {text}" if count > 1 else text for text, count in texts.items())


def schedule_outer_loops(kernel: Kernel, machine: Machine) -> str:
    """Run the outer loops of each nest on all threads, and leave everything else as it is."""
    names = inline_steps(kernel)
    schedule = kernel.schedule
    texts = Counter(outer_loops(schedule, schedule.get_sblock(name), machine) for name in names)
    return "; ".join(f"{count} x {text}" if count > 1 else text for text, count in texts.items())


def inline_steps(kernel: Kernel) -> list[str]:
    """Inline elementwise steps; return the names of the blocks that are left, in order."""
    schedule = kernel.schedule
    left = inline_spatial(schedule, [block.handle for block in kernel.blocks])
    return [schedule.get(handle).name_hint for handle in left]
