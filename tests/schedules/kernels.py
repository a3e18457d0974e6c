"""Single kernels scheduled, built and run inside the test's process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.schedules.default import Decision, schedule_kernel
from autoglm_tvm.schedules.lowering.pipeline import register_pipeline
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import resolve_target


def build_kernel(function: Any, target: str = "host") -> Any:
    """The machine code of a `PrimFunc` as it is; its function is called `main`."""
    import tvm

    tvm_target = tvm.target.Target(resolve_target(target).to_tvm_dict())
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    with tvm_target, wide_indices():
        return tvm.tirx.build(module, target=tvm_target, pipeline=register_pipeline())


def schedule(function: Any, target: str = "host", threads: int = 2) -> tuple[Any, Decision]:
    """The kernel as the default rules schedule it, and what they decided."""
    import tvm

    resolved = replace(resolve_target(target), threads=threads)
    with tvm.target.Target(resolved.to_tvm_dict()):
        return schedule_kernel(function, machine_of(resolved))


def call(library: Any, *arrays: np.ndarray) -> np.ndarray:
    """Call a kernel; its last argument, which it writes, comes back."""
    import tvm

    tensors = [tvm.runtime.tensor(array) for array in arrays]
    library["main"](*tensors)
    return tensors[-1].numpy()


def run(function: Any, *arrays: np.ndarray, threads: int = 2) -> tuple[np.ndarray, Decision]:
    """Schedule a kernel for `threads`, build it and call it."""
    scheduled, decision = schedule(function, threads=threads)
    return call(build_kernel(scheduled), *arrays), decision
