"""OpenVINO on the CPU; it reads ONNX itself."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from benchmarks.peers.peer import Task

if TYPE_CHECKING:
    import numpy as np

# Without the second it computes float32 networks in bfloat16 on the machines that can. Without the
# third it binds its threads to cores, and none of the others does here.
_SETTINGS = {
    "PERFORMANCE_HINT": "LATENCY",
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,
}


class OpenVino:
    """A compiled model and one request."""

    def __init__(self, task: Task) -> None:
        openvino: Any = importlib.import_module("openvino")
        core = openvino.Core()
        model = core.read_model(str(task.model))
        model.reshape({name: list(array.shape) for name, array in task.inputs.items()})
        settings = {**_SETTINGS, "INFERENCE_NUM_THREADS": task.threads}
        self._request = core.compile_model(model, "CPU", settings).create_infer_request()
        for name, array in task.inputs.items():
            self._request.set_tensor(name, openvino.Tensor(array))
        self._outputs = task.outputs

    def run(self) -> None:
        """Run the network once."""
        self._request.infer(share_outputs=True)

    def outputs(self) -> list[np.ndarray]:
        """Run once and return the outputs."""
        self.run()
        return [self._request.get_tensor(name).data.copy() for name in self._outputs]
