"""Compare every kernel's result with the ONNX tensor that it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.manifest import Manifest
from autoglm_tvm.compiler.compare import TensorError, compare
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.targets.errors import CheckFailedError

if TYPE_CHECKING:
    import numpy as np


def compare_layers(
    model: ReadModel,
    manifest: Manifest,
    inputs: Mapping[str, np.ndarray],
    kernels: Sequence[tuple[str, np.ndarray]],
) -> tuple[TensorError, ...]:
    """Return the error of each kernel call whose ONNX tensor is known, in the order of execution.

    Parameters
    ----------
    model
        The normalised reference model: its tensors are the ones that the manifest names.
    manifest
        Of the bundle that ran.
    inputs
        What it ran on.
    kernels
        Kernel name and result of each kernel call, as the bundle's runner recorded them.

    Raises
    ------
    CheckFailedError
        The bundle ran other kernels than its manifest lists.
    """
    ran = [name for name, _ in kernels]
    if ran != [entry.function for entry in manifest.kernels]:
        raise CheckFailedError(
            "the bundle ran other kernels than its manifest lists",
            hint="per-layer comparison needs a graph without If branches; leave --per-layer out",
        )
    produced = {name for node in model.proto.graph.node for name in node.output}
    pairs = [
        (entry.output, array)
        for entry, (_, array) in zip(manifest.kernels, kernels, strict=True)
        if entry.output in produced
    ]
    expected = _intermediates(model, inputs, sorted({name for name, _ in pairs}))
    signed = ((name, _of_sign(array, expected[name].dtype)) for name, array in pairs)
    held = ((name, _in_onnx_layout(array, expected[name].shape)) for name, array in signed)
    return tuple(compare(name, array, expected[name]) for name, array in held if array is not None)


def _of_sign(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return bytes in the sign that the tensor has: a machine may have asked for the other one."""
    if (array.dtype.name, dtype.name) in (("uint8", "int8"), ("int8", "uint8")):
        # Adding or taking away 128 is to turn the highest bit.
        return (array.view("uint8") ^ 128).view(dtype)
    return array


def _in_onnx_layout(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Return a kernel's result in the tensor's own shape; ``None`` if it lies in another order.

    A kernel may keep or drop dimensions of size one, and layout conversion makes NCHW NHWC.
    """
    if [dim for dim in array.shape if dim != 1] == [dim for dim in shape if dim != 1]:
        return array.reshape(shape)
    if array.ndim == 4 and array.transpose(0, 3, 1, 2).shape == shape:
        return array.transpose(0, 3, 1, 2)
    return None


def _intermediates(
    model: ReadModel, inputs: Mapping[str, np.ndarray], names: Sequence[str]
) -> dict[str, np.ndarray]:
    import onnx

    if not names:
        return {}
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model.proto)
    outputs = {info.name for info in exposed.graph.output}
    exposed.graph.output.extend(
        onnx.ValueInfoProto(name=name) for name in names if name not in outputs
    )
    return run_reference(exposed, {**inputs, **model.weights}, names)
