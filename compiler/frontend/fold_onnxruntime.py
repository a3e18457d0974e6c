"""Constant folding by onnxruntime's offline optimisation at the basic level."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.constants import constant_nodes_to_initializers
from autoglm_tvm.compiler.frontend.equivalence import for_onnxruntime
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime

if TYPE_CHECKING:
    import onnx

#: The basic level also fuses; what is listed here would rename tensors or change the arithmetic.
DISABLED = [
    "CommonSubexpressionElimination",
    "ConstantSharing",
    "ConvAddFusion",
    "ConvBNFusion",
    "ConvMulFusion",
    "DivMulFusion",
    "DoubleQDQPairsRemover",
    "FuseReluClip",
    "GemmSumFusion",
    "GemmTransposeFusion",
    "MatMulAddFusion",
    "MatMulBNFusion",
    "PadFusion",
    "QDQPropagationTransformer",
    "ReshapeFusion",
    "TransposeOptimizer",
]


def fold_with_onnxruntime(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return `model` as onnxruntime's basic level writes it out."""
    import onnx

    onnxruntime = load_onnxruntime()

    with tempfile.TemporaryDirectory(prefix="autoglm-tvm-") as folder:
        path = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(path)
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            for_onnxruntime(model),
            sess_options=options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=DISABLED,
        )
        folded = onnx.load(path)
    constant_nodes_to_initializers(folded)
    folded.ir_version = model.ir_version
    _keep_imports(model, folded)
    return folded


def _keep_imports(model: onnx.ModelProto, folded: onnx.ModelProto) -> None:
    """Import the model's operator sets only: onnxruntime lists every one that it knows."""
    del folded.opset_import[:]
    folded.opset_import.extend(model.opset_import)
