"""Which layer costs accuracy: each one quantized alone, all others in float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.assign import layer_names
from autoglm_tvm.compiler.quantization.layer_error import LayerError, layer_error, worst_first
from autoglm_tvm.compiler.quantization.logits import logit_outputs
from autoglm_tvm.compiler.quantization.output_accuracy import compare_outputs
from autoglm_tvm.compiler.quantization.reference_runs import FloatOutputs, OnnxSession

if TYPE_CHECKING:
    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.read import ReadModel

#: Makes the quantized model for a precision of each node; cheap after the first time.
Quantizer = Callable[[Mapping[str, str]], "ReadModel"]

FLOAT = "fp32"


def measure_layers(
    original: ReadModel,
    precisions: Mapping[str, str],
    quantize: Quantizer,
    data: CalibrationData,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerError, ...]:
    """Return the error that each quantized layer adds to the outputs, the worst first.

    Layers are what computes with a constant weight: what lies between them is computed on bytes
    only where its neighbours are, and its noise is that of the next layer's quantized input. One
    model and one session at a time are in memory, beside the float model's outputs.

    Parameters
    ----------
    original
        The float model.
    precisions
        Precision of each node that can be quantized; those in fp32 are left out.
    quantize
        Makes the model to measure.
    data
        Held-out inputs.
    progress
        Called with each layer's number and name.

    Raises
    ------
    CheckFailedError
        A layer alone makes an output NaN or Inf.
    """
    return layer_errors(original, precisions, quantize, FloatOutputs(original, data), progress)


def layer_errors(
    original: ReadModel,
    precisions: Mapping[str, str],
    quantize: Quantizer,
    reference: FloatOutputs,
    progress: Callable[[str], None] | None = None,
) -> tuple[LayerError, ...]:
    """As `measure_layers`, with the float model's outputs at hand."""
    logits = logit_outputs(original)
    operators = {node.name: node.op_type for node in original.proto.graph.node}
    names = layer_names(original.proto, original.weights)
    layers = [name for name in names if precisions.get(name, FLOAT) != FLOAT]
    errors: list[LayerError] = []
    for number, name in enumerate(layers, start=1):
        if progress is not None:
            progress(f"layer {number} of {len(layers)}: {name}")
        alone = {other: FLOAT for other in precisions} | {name: precisions[name]}
        outputs = compare_outputs(reference, OnnxSession(quantize(alone)), logits)
        errors.append(layer_error(name, operators[name], precisions[name], outputs))
    return worst_first(errors)
