"""Small networks all of whose kernels are scheduled by candidates of MetaSchedule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import OptimisedModel, optimise
from autoglm_tvm.compiler.read import read
from autoglm_tvm.schedules.search.metaschedule import MetaScheduleSearch, apply_trace
from autoglm_tvm.targets import Target, resolve_target
from tests.schedules.harness import Compiled


@dataclass(frozen=True)
class Kernels:
    """The unscheduled kernels of a network, and the machine that they are for."""

    model: OptimisedModel
    target: Target

    @property
    def functions(self) -> dict[str, Any]:
        """Each `PrimFunc` by its name."""
        from tvm import tirx

        content: Any = self.model.module
        return {
            variable.name_hint: function
            for variable, function in content.functions.items()
            if isinstance(function, tirx.PrimFunc)
        }

    def only(self) -> Any:
        """The function of the one kernel that there is."""
        (function,) = self.functions.values()
        return function

    def search(self, *, seed: int = 1, max_trials: int = 1000) -> MetaScheduleSearch:
        """A search for the only kernel."""
        return MetaScheduleSearch(self.only(), self.target, seed=seed, max_trials=max_trials)

    def scheduled(self, scheduled: dict[str, Any]) -> Compiled:
        """The network, built with other bodies of its kernels."""
        from tvm import IRModule

        content: Any = self.model.module
        functions = {
            variable: scheduled.get(variable.name_hint, function)
            for variable, function in content.functions.items()
        }
        module: Any = IRModule(functions, attrs=content.attrs)
        executable = build(module, self.target, []).executable
        weights = tuple(array for _, array in self.model.weights)
        return Compiled(executable, weights, (), ())


def kernels_of(model: onnx.ModelProto, *, target: str = "host", threads: int = 8) -> Kernels:
    """What the stages before scheduling make of a network."""
    resolved = replace(resolve_target(target), threads=threads)
    return Kernels(optimise(import_onnx(read(model)), resolved), resolved)


def results(kernels: Kernels, inputs: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """What the network computes with none, and then with `count` candidates of each kernel.

    The candidates go through JSON, as records do.
    """
    yield kernels.scheduled({}).run(*inputs)
    asked = {}
    for name, function in kernels.functions.items():
        search = MetaScheduleSearch(function, kernels.target, seed=1, max_trials=count)
        asked[name] = search.ask(count)
        assert asked[name], search.refused
    for number in range(count):
        configs = {name: found[number % len(found)] for name, found in asked.items()}
        replayed = {
            name: apply_trace(
                kernels.functions[name], json.loads(json.dumps(config)), kernels.target
            )
            for name, config in configs.items()
        }
        yield kernels.scheduled(replayed).run(*inputs)
