"""One model for one target: the bundle, the inputs, and what they shall give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.bundle import Bundle
from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.compiler.reference import run_reference
from benchmarks.inputs import inputs_of
from benchmarks.models.catalog import Case, model_file
from benchmarks.multiply_adds import total_multiply_adds

if TYPE_CHECKING:
    import numpy as np

#: Multiply-adds of float32 that one instruction on a 128-bit vector does.
LANES = 4
#: The CPU that qemu plays for each target. Cortex-A53 is plain Armv8.0, A76 is v8.2 with dot
#: product. Of v8.6 it knows no phone's CPU: `max` has all features, less what phones hide.
CPUS = {
    "android-arm64": "cortex-a53",
    "android-arm64-v8.2": "cortex-a76",
    "android-arm64-v8.6": "max,sve=off,sme=off",
}


@dataclass(frozen=True)
class Trial:
    """A case, compiled.

    Attributes
    ----------
    case, target, model
        The case, the target's name, and the ONNX file.
    bundle
        What was compiled from it.
    inputs, expected
        Arrays by the names of the inputs and outputs; both in the model's order.
    read
        The graph that was compiled.
    """

    case: Case
    target: str
    model: Path
    bundle: Bundle
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    read: ReadModel

    @property
    def cpu(self) -> str:
        """The CPU, as qemu names it."""
        return CPUS[self.target]

    @property
    def floor(self) -> int:
        """The vector instructions that the network's multiply-adds take at least.

        An algorithm that multiplies less (Winograd, FFT) can stay below.
        """
        return total_multiply_adds(self.read) // LANES


def prepare(case: Case, target: str, folder: Path) -> Trial:
    """Compile a case to a bundle in a folder, as a user would.

    Raises
    ------
    AutoglmError
        It cannot be compiled.
    """
    model = model_file(case)
    compiled = compile(model, target, folder / "bundle", case.shapes or None, name=case.name)
    read = compiled.staged.read
    inputs = inputs_of(case, read)
    expected = run_reference(model, inputs)
    return Trial(case, target, model, compiled.bundle, inputs, expected, read)
