"""What a builder process does: schedule one kernel, compile it, link it; runs as ``python -m``.

It imports TVM and our schedules, and not what takes 20 s (`tvm.s_tir.tensor_intrin`).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection as Channel
from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.worker_process import READY
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.schedules.default import TRACE
from autoglm_tvm.targets import Target

# Symbol of the kernel in its library.
SYMBOL = "kernel"


@dataclass(frozen=True)
class BuildJob:
    """One kernel to be built.

    Attributes
    ----------
    function
        The unscheduled ``PrimFunc``, as TVM's JSON.
    config
        What tuning chose; empty for the default schedule.
    target
        The machine that it is for.
    library
        Where the linked library goes.
    """

    function: str
    config: dict[str, Any]
    target: Target
    library: Path


def build_kernel(job: BuildJob) -> str:
    """Build one kernel and return what its schedule did.

    Raises
    ------
    ValueError
        The configuration does not fit the kernel.
    """
    import tvm
    from tvm import ir

    from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
    from autoglm_tvm.targets import link_shared

    tvm_target = tvm.target.Target(job.target.to_tvm_dict())
    function: Any = ir.load_json(job.function)
    with tvm_target:
        scheduled, description = _schedule(function, job)
    named = scheduled.with_attr("global_symbol", SYMBOL)
    with tvm_target, wide_indices():
        module: Any = tvm.tirx.build(
            tvm.IRModule({SYMBOL: named}), target=tvm_target, pipeline=register_pipeline()
        )

    def link(output: str, objects: Sequence[str], **_: Any) -> None:
        link_shared(objects, output, job.target, job.library.name)

    module.export_library(str(job.library), fcompile=link)
    return description


def _schedule(function: Any, job: BuildJob) -> tuple[Any, str]:
    from autoglm_tvm.schedules.default import FAILED, schedule_kernel
    from autoglm_tvm.schedules.machine import machine_of

    if TRACE in job.config:
        from autoglm_tvm.schedules.search.metaschedule import apply_trace

        return apply_trace(function, job.config, job.target), "trace of MetaSchedule"
    scheduled, decision = schedule_kernel(function, machine_of(job.target), config=job.config)
    if decision.refusal.startswith(FAILED):
        raise ValueError(decision.refusal)
    return scheduled, f"{decision.rule}: {decision.description}"


def _answer(job: BuildJob) -> tuple[str, str]:
    """What the schedule did, and why there is no library, empty if there is."""
    try:
        return build_kernel(job), ""
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return "", lines[-1]


def main() -> None:
    """Answer requests until the builder closes the channel or ends."""
    channel = Channel(int(sys.argv[1]))
    import tvm  # noqa: F401 - takes 2 s, once

    from autoglm_tvm.schedules.intrinsics.operators import register_all

    register_all()
    channel.send(READY)
    while True:
        try:
            (job,) = channel.recv()
        except EOFError:
            return
        channel.send(_answer(job))


if __name__ == "__main__":
    main()
