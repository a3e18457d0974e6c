"""Run a bundle on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.bundle import Bundle, read_bundle
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.versions import PINNED_VERSIONS, check_versions, installed_version

if TYPE_CHECKING:
    import numpy as np


class LocalBundle:
    """A bundle loaded into this process; made by `open_bundle`. Not thread-safe.

    Attributes
    ----------
    vm
        TVM's virtual machine.
    """

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        _refuse_other_machine(bundle)
        _refuse_other_abi(bundle)
        import tvm
        from tvm import relax

        self.bundle = bundle
        self.manifest = bundle.manifest
        self.threads = threads or int(bundle.manifest.target["threads"])
        device: Any = tvm.cpu()
        self.vm: Any = relax.VirtualMachine(_load_library(bundle.library_path), device)
        # DLPack hands the mapped pages over as they are: nothing is copied.
        self._weights = [tvm.runtime.from_dlpack(array) for array in bundle.map_weights()]

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network once.

        Parameters
        ----------
        inputs
            One array for each input; names as in the ONNX file.

        Returns
        -------
        outputs
            One array for each output; names as in the ONNX file.

        Raises
        ------
        UserInputError
            A name, dtype or shape is wrong.
        """
        import tvm

        arrays = self.bundle.check_inputs(inputs)
        _use_threads(self.threads)
        tensors = [tvm.runtime.tensor(array) for array in arrays]
        try:
            result: Any = self.vm[self.manifest.entry](*tensors, *self._weights)
        except Exception as error:
            raise _cannot_run(self.bundle, arrays, error) from error
        results = [result] if isinstance(result, tvm.runtime.Tensor) else list(result)
        return self.bundle.name_outputs([tensor.numpy() for tensor in results])

    def prepare(self, inputs: Mapping[str, np.ndarray]) -> Callable[[], object]:
        """Return what runs the network once on these inputs, and does nothing else: to be timed."""
        import tvm

        tensors = [tvm.runtime.tensor(array) for array in self.bundle.check_inputs(inputs)]
        _use_threads(self.threads)
        entry = self.vm[self.manifest.entry]
        return lambda: entry(*tensors, *self._weights)

    def run_with_kernel_outputs(
        self, inputs: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[tuple[str, np.ndarray]]]:
        """Run once and return, beside the outputs, name and result of each kernel call."""
        import tvm

        names = {entry.function for entry in self.manifest.kernels}
        recorded: list[tuple[str, np.ndarray]] = []

        def record(_function: Any, name: str, before: bool, _result: Any, *args: Any) -> int:
            if not before and name in names:
                # A kernel writes its result into its last tensor argument.
                tensors = [arg for arg in args if isinstance(arg, tvm.runtime.Tensor)]
                recorded.append((name, tensors[-1].numpy()))
            return _GO_ON

        self.vm.set_instrument(record)
        try:
            outputs = self.run(inputs)
        finally:
            self.vm.set_instrument(lambda *_: _GO_ON)
        return outputs, recorded


# Cores that this process may use, asked for before TVM binds threads to some of them.
_CORES = len(os.sched_getaffinity(0))
# Affinity mode of TVM's thread pool (threading_backend.h, kBig).
BIG_CORES_FIRST = 1
# What an instrument answers so that the virtual machine goes on (vm.h, VMInstrumentReturnKind).
_GO_ON = 0


def _use_threads(count: int) -> None:
    """Set the pool, which is the process's: another bundle may have set it since the last run."""
    import tvm

    # Read once, when the pool is made. By default TVM takes half of the cores of an x86 machine,
    # for the sake of hyper-threading, ignores a request for more, and binds the calling thread,
    # and so every process that it starts later, to that half.
    os.environ.setdefault("TVM_NUM_THREADS", str(_CORES))
    tvm.get_global_func("runtime.config_threadpool")(BIG_CORES_FIRST, min(count, _CORES))


def open_bundle(directory: str | Path, threads: int | None = None) -> LocalBundle:
    """Check a bundle's files by hash and load it into this process.

    Parameters
    ----------
    directory
        The bundle's folder.
    threads
        Worker threads of a run; by default what the bundle was compiled for. Never more than the
        process may use cores.

    Raises
    ------
    UserInputError
        No bundle there, or it is for another kind of machine.
    CheckFailedError
        A file of it was changed.
    MissingToolError
        The installed TVM has another ABI than the one it was compiled with.
    """
    if threads is not None and threads < 1:
        raise UserInputError(
            f"threads must be 1 or more, not {threads}",
            hint="leave them out to use as many as the bundle was compiled for",
        )
    return LocalBundle(read_bundle(directory), threads)


def _load_library(path: Path) -> Any:
    """Load a library under a name that this process has not used before.

    The dynamic linker takes a path that it knows for the file that it loaded from there, so a
    bundle that was compiled anew in its old place would run the old code. A link does not help:
    TVM resolves it first.
    """
    import tvm

    with tempfile.TemporaryDirectory() as folder:
        return tvm.runtime.load_module(shutil.copy(path, folder))


def _cannot_run(bundle: Bundle, arrays: Sequence[np.ndarray], error: Exception) -> UserInputError:
    specs = bundle.manifest.inputs
    sizes = ", ".join(
        f"{spec.name} {list(array.shape)}" for spec, array in zip(specs, arrays, strict=True)
    )
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserInputError(
        f"the network cannot run on these sizes ({sizes}): {first}",
        where=str(bundle.directory),
        hint="give inputs of sizes that the model was made for",
    )


def _refuse_other_machine(bundle: Bundle) -> None:
    target = bundle.manifest.target
    here = platform.machine().replace("arm64", "aarch64").replace("AMD64", "x86_64")
    if target["arch"] == here and target["abi"] == "gnu":
        return
    raise UserInputError(
        f"the bundle is for {target['name']} ({target['triple']}); this machine is {here} Linux",
        where=str(bundle.directory),
        hint="run it on a device (verify --tracker HOST:PORT --key KEY), "
        "or compile the model with --target host",
    )


def _refuse_other_abi(bundle: Bundle) -> None:
    check_versions()
    found = {name: installed_version(name) for name in PINNED_VERSIONS}
    if found != bundle.manifest.abi:
        wanted = ", ".join(f"{name} {version}" for name, version in bundle.manifest.abi.items())
        has = ", ".join(f"{name} {version}" for name, version in found.items())
        raise MissingToolError(
            f"the bundle was compiled with {wanted}; installed is {has}",
            where=str(bundle.directory),
            hint="compile the model again, or install the versions that the bundle names",
        )
