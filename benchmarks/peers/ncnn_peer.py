"""ncnn on the CPU, converted by `pnnx`, of which the package of that name brings the program."""

from __future__ import annotations

import importlib
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.convert import converted
from benchmarks.peers.peer import PeerError, Task

if TYPE_CHECKING:
    import numpy as np

_SCRIPT = "model_ncnn.py"
_BATCH_AXIS = re.compile(r"batch_index=(\d+)")
# ncnn stores weights and activations in 16 bits unless told otherwise.
_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")


class Ncnn:
    """A net. Which axis of each input and output is the batch, which ncnn treats apart, is in the
    script that pnnx writes."""

    def __init__(self, task: Task) -> None:
        folder = converted("pnnx", task, lambda model: _command(model, task))
        self._ncnn: Any = importlib.import_module("ncnn")
        self._net = self._ncnn.Net()
        self._net.opt.num_threads = task.threads
        for option in _HALF:
            setattr(self._net.opt, option, False)
        if self._net.load_param(str(folder / "model.ncnn.param")):
            raise PeerError("ncnn cannot read what pnnx made of the model")
        self._net.load_model(str(folder / "model.ncnn.bin"))
        axes = [int(axis) for axis in _BATCH_AXIS.findall((folder / _SCRIPT).read_text("utf-8"))]
        if len(axes) != len(task.inputs) + len(task.outputs):
            raise PeerError("pnnx dropped an input or an output")
        self._output_axes = axes[len(task.inputs) :]
        self._inputs = [
            self._matrix(array, axis)
            for array, axis in zip(task.inputs.values(), axes, strict=False)
        ]

    def run(self) -> list[Any]:
        """Run the network once and return ncnn's matrices."""
        extractor = self._net.create_extractor()
        for position, matrix in enumerate(self._inputs):
            extractor.input(f"in{position}", matrix)
        matrices = []
        for position in range(len(self._output_axes)):
            failed, matrix = extractor.extract(f"out{position}")
            if failed:
                raise PeerError("the run failed")
            matrices.append(matrix)
        return matrices

    def outputs(self) -> list[np.ndarray]:
        """Run once and return the outputs."""
        pairs = zip(self.run(), self._output_axes, strict=True)
        return [matrix.numpy(batch_index=axis).copy() for matrix, axis in pairs]

    def _matrix(self, array: np.ndarray, axis: int) -> Any:
        import numpy as np

        whole = np.issubdtype(array.dtype, np.integer)
        values = np.array(array, np.int32 if whole else np.float32)
        return self._ncnn.Mat(values, batch_index=axis).clone()


def _command(model: Path, task: Task) -> list[str]:
    spec = find_spec("pnnx")
    if spec is None or spec.origin is None:
        raise PeerError("its converter is not installed: pip install --no-deps pnnx")
    shapes = ",".join(
        f"[{','.join(map(str, array.shape))}]{'f32' if array.dtype.kind == 'f' else 'i64'}"
        for array in task.inputs.values()
    )
    return [str(Path(spec.origin).with_name("pnnx")), str(model), f"inputshape={shapes}", "fp16=0"]
