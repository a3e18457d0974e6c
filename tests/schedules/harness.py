"""Networks compiled and run inside the test's process, without linking a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.targets import Target, resolve_target


@dataclass(frozen=True)
class Compiled:
    """A network ready to run, and of each of its kernel calls the rule and the operators."""

    executable: Any
    weights: tuple[np.ndarray, ...]
    rules: tuple[str, ...]
    operators: tuple[tuple[str, ...], ...]

    def run(self, *inputs: np.ndarray) -> np.ndarray:
        """The only output."""
        import tvm
        from tvm import relax

        device: Any = tvm.cpu()
        machine: Any = relax.VirtualMachine(self.executable, device)
        result = machine["main"](*(tvm.runtime.tensor(a) for a in (*inputs, *self.weights)))
        return (result if isinstance(result, tvm.runtime.Tensor) else result[0]).numpy()


def compile_in_memory(model: onnx.ModelProto, target: Target | None = None) -> Compiled:
    """Take a model through all stages but the last."""
    target = target or resolve_target("host")
    optimised = optimise(import_onnx(read(model)), target)
    scheduled = schedule(optimised, target)
    built = build(scheduled.module, target, [])
    weights = tuple(array for _, array in optimised.weights)
    rules = tuple(entry.rule for entry in scheduled.kernels)
    operators = tuple(entry.operators for entry in scheduled.kernels)
    return Compiled(built.executable, weights, rules, operators)
