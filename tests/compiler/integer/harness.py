"""Q/DQ models, lowered to integers, against onnxruntime's two ways to run them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler import compile
from autoglm_tvm.compiler.frontend.equivalence import for_onnxruntime
from autoglm_tvm.compiler.frontend.model_constants import with_weights
from autoglm_tvm.compiler.integer import IntegerModel, lower_to_integers
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime
from autoglm_tvm.compiler.read import read
from autoglm_tvm.schedules.machine import Machine

Arrays = Mapping[str, np.ndarray]

VNNI = Machine("x86_64", 64, 32, False, 1, 32 << 10, 1 << 20, True, "vnni")
DOTPROD = Machine("aarch64", 16, 32, True, 1, 32 << 10, 256 << 10, True, "dotprod")
PLAIN = Machine("x86_64", 16, 16, False, 1, 32 << 10, 1 << 20, False, "")


def run_onnxruntime(model: onnx.ModelProto, inputs: Arrays, *, fused: bool) -> list[np.ndarray]:
    """Run a model in onnxruntime.

    `fused`: with its default optimisations, which make QLinear* of Q/DQ islands; otherwise node by
    node, which computes in float between DQ and Q.
    """
    onnxruntime = load_onnxruntime()
    options = onnxruntime.SessionOptions()
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if fused else levels.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    # Without VNNI its kernels for AVX2 would add two products in int16, saturating.
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        for_onnxruntime(model), options, providers=["CPUExecutionProvider"]
    )
    wanted = {each.name for each in session.get_inputs()}
    return session.run(None, {name: array for name, array in inputs.items() if name in wanted})


def lower(
    model: onnx.ModelProto, machine: Machine = VNNI, requantization: str = "float32"
) -> IntegerModel:
    """Read and lower a model."""
    return lower_to_integers(read(model), machine, requantization)


def operators(lowered: IntegerModel) -> list[str]:
    """The operators of the integer model, in order."""
    return [node.op_type for node in lowered.model.proto.graph.node]


def runs(lowered: IntegerModel) -> dict[str, str]:
    """How each node runs, by its name."""
    return {node.name: node.runs for node in lowered.nodes}


def largest_step(left: np.ndarray, right: np.ndarray) -> int:
    """The largest difference of two tensors of bytes."""
    assert left.dtype == right.dtype, (left.dtype, right.dtype)
    assert left.shape == right.shape, (left.shape, right.shape)
    return int(np.abs(left.astype(np.int32) - right.astype(np.int32)).max())


def integer_outputs(lowered: IntegerModel, inputs: Arrays) -> list[np.ndarray]:
    """What the integer model computes, node by node in onnxruntime."""
    return run_onnxruntime(with_weights(lowered.model), inputs, fused=False)


def bundle_outputs(model: onnx.ModelProto, inputs: Arrays, folder: Path) -> list[np.ndarray]:
    """What the compiled bundle computes on this machine."""
    bundle = open_bundle(compile(model, "host", folder / "bundle", threads=1).directory)
    found = bundle.run(dict(inputs))
    return [found[spec.name] for spec in bundle.manifest.outputs]
