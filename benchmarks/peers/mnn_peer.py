"""MNN on the CPU, converted by the `mnnconvert` of its own package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.convert import converted
from benchmarks.peers.peer import PeerError, Task

if TYPE_CHECKING:
    import numpy as np

_FILE = "model.mnn"


class Mnn:
    """A session; its converter turns 64-bit integers into 32-bit ones."""

    def __init__(self, task: Task) -> None:
        tool = str(Path(sys.executable).with_name("mnnconvert"))
        folder = converted("MNN", task, lambda model: _command(tool, model))
        self._mnn: Any = importlib.import_module("MNN")
        self._interpreter = self._mnn.Interpreter(str(folder / _FILE))
        config = {"backend": "CPU", "numThread": task.threads, "precision": "high"}
        self._session = self._interpreter.createSession(config)
        targets = self._interpreter.getSessionInputAll(self._session)
        for name, array in task.inputs.items():
            self._interpreter.resizeTensor(targets[name], array.shape)
        self._interpreter.resizeSession(self._session)
        self._inputs = [(targets[name], self._host(array)) for name, array in task.inputs.items()]
        self._outputs = task.outputs
        self._fill()

    def run(self) -> None:
        """Run the network once."""
        if self._interpreter.runSession(self._session):
            raise PeerError("the run failed")

    def outputs(self) -> list[np.ndarray]:
        """Fill the inputs, whose memory a run may use for itself, run once, return the outputs."""
        import numpy as np

        self._fill()
        self.run()
        found = self._interpreter.getSessionOutputAll(self._session)
        arrays = []
        for name in self._outputs:
            host = self._host(np.zeros(found[name].getShape(), np.float32))
            found[name].copyToHostTensor(host)
            arrays.append(np.array(host.getNumpyData()))
        return arrays

    def _fill(self) -> None:
        for target, host in self._inputs:
            target.copyFrom(host)

    def _host(self, array: np.ndarray) -> Any:
        import numpy as np

        mnn = self._mnn
        whole = np.issubdtype(array.dtype, np.integer)
        kind = mnn.Halide_Type_Int if whole else mnn.Halide_Type_Float
        values = np.ascontiguousarray(array, np.int32 if whole else np.float32)
        return mnn.Tensor(array.shape, kind, values, mnn.Tensor_DimensionType_Caffe)


def _command(tool: str, model: Path) -> list[str]:
    options = {"-f": "ONNX", "--modelFile": str(model), "--MNNModel": _FILE, "--bizCode": "x"}
    return [tool, *(word for option in options.items() for word in option)]
