"""ONNX Runtime, the yardstick; and its own profile of a model."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime
from benchmarks.peers.peer import Task

if TYPE_CHECKING:
    import numpy as np

_PROFILED_RUNS = 20
#: Runs before ONNX Runtime's allocations have settled.
_FIRST_RUNS = 2


class OnnxRuntime:
    """A session on the CPU; but for the threads everything is ONNX Runtime's default."""

    def __init__(self, task: Task, profile: str = "") -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = task.threads
        options.log_severity_level = 3
        if profile:
            options.enable_profiling = True
            options.profile_file_prefix = profile
        self.session: Any = onnxruntime.InferenceSession(
            str(task.model), options, providers=["CPUExecutionProvider"]
        )
        # Bound once, so that no run pays for numpy's conversions: ours does not either.
        self._binding = self.session.io_binding()
        for name, array in task.inputs.items():
            self._binding.bind_cpu_input(name, array)
        for name in task.outputs:
            self._binding.bind_output(name, "cpu")

    def run(self) -> None:
        """Run the network once."""
        self.session.run_with_iobinding(self._binding)

    def outputs(self) -> list[np.ndarray]:
        """Run once and return the outputs."""
        self.run()
        return self._binding.copy_outputs_to_cpu()


def profile_onnxruntime(task: Task) -> list[dict[str, Any]]:
    """Return ONNX Runtime's own times of the nodes of its optimised graph, the slowest first.

    Each has ``node``, ``operator``, ``shapes`` and ``microseconds``, the mean over several runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        side = OnnxRuntime(task, str(Path(folder) / "profile"))
        for _ in range(_PROFILED_RUNS):
            side.run()
        events = json.loads(Path(side.session.end_profiling()).read_text("utf-8"))
    times: dict[str, list[float]] = defaultdict(list)
    nodes: dict[str, dict[str, Any]] = {}
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        if event.get("cat") != "Node" or name == event["name"]:
            continue
        times[name].append(event["dur"])
        details = event["args"]
        shapes = [*_shapes(details, "input"), *_shapes(details, "output")]
        nodes[name] = {"node": name, "operator": details["op_name"], "shapes": shapes}
    for name, found in times.items():
        kept = found[_FIRST_RUNS:]
        nodes[name]["microseconds"] = sum(kept) / len(kept)
    return sorted(nodes.values(), key=lambda node: -node["microseconds"])


def _shapes(details: dict[str, Any], kind: str) -> list[str]:
    found = details.get(f"{kind}_type_shape", [])
    return [f"{dtype}{dims}" for item in found for dtype, dims in item.items()]
