"""Our side of the benchmark: a bundle in this process, called with tensors that lie ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.compiler.read import ReadModel
from benchmarks.kernel_times import KernelTime, time_kernels
from benchmarks.multiply_adds import kernel_multiply_adds

if TYPE_CHECKING:
    import numpy as np

# Affinity mode of TVM's thread pool (threading_backend.h, kBig).
_BIG_CORES_FIRST = 1


class OurSide:
    """A loaded bundle, its inputs and its weights as TVM's tensors."""

    def __init__(self, directory: Path, inputs: Mapping[str, np.ndarray], threads: int) -> None:
        import tvm
        from tvm import relax

        self.bundle = read_bundle(directory)
        tvm.get_global_func("runtime.config_threadpool")(_BIG_CORES_FIRST, threads)
        device: Any = tvm.cpu()
        library: Any = tvm.runtime.load_module(str(self.bundle.library_path))
        self._vm: Any = relax.VirtualMachine(library, device)
        self._entry = self._vm[self.bundle.manifest.entry]
        arrays = self.bundle.check_inputs(inputs)
        weights = [tvm.runtime.from_dlpack(array) for array in self.bundle.map_weights()]
        self._arguments = [*(tvm.runtime.tensor(array) for array in arrays), *weights]

    def run(self) -> Any:
        """Run the network once; the outputs stay TVM's."""
        return self._entry(*self._arguments)

    def outputs(self) -> list[np.ndarray]:
        """Run once and return the outputs in the order of the ONNX file."""
        result = self.run()
        tensors = [result] if hasattr(result, "numpy") else list(result)
        return [tensor.numpy() for tensor in tensors]

    def profile(self, model: ReadModel, seconds: float) -> list[KernelTime]:
        """Time every kernel; `model` is what the bundle was compiled from."""
        manifest = self.bundle.manifest
        macs = kernel_multiply_adds(model, [entry.output for entry in manifest.kernels])
        return time_kernels(self._vm, self.run, manifest, macs, seconds)
