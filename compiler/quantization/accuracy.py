"""What quantization cost: the quantized model against the float model on held-out inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.quantization.guards import check_finite
from autoglm_tvm.compiler.quantization.logits import logit_outputs
from autoglm_tvm.compiler.quantization.output_accuracy import (
    OutputAccuracy,
    compare_outputs,
    worst_drop,
)
from autoglm_tvm.compiler.quantization.reference_runs import FloatOutputs, OnnxSession

if TYPE_CHECKING:
    import onnx

    from autoglm_tvm.compiler.quantization.calibration_data import CalibrationData
    from autoglm_tvm.compiler.quantization.layer_error import LayerError
    from autoglm_tvm.compiler.read import ReadModel

#: What a report on random data says first.
RANDOM_DATA = "the data is random, so this accuracy means nothing"
#: What a report says where no run could be held out.
SEEN_DATA = "measured on what it was calibrated with"


@dataclass(frozen=True)
class AccuracyReport:
    """Accuracy and size of a quantized model against the float model.

    Attributes
    ----------
    outputs
        Each output's accuracy over all samples.
    samples
        How many inputs both models ran on.
    data
        Where the inputs came from.
    random
        Whether they are random: then the accuracy means nothing.
    weights_before, weights_after
        Bytes of all constants of the float and of the quantized model.
    layers
        The error that each layer adds alone, the worst first; empty unless asked for.
    held_out
        Whether the inputs are others than those that were calibrated with: not of a single one.
    """

    outputs: tuple[OutputAccuracy, ...]
    samples: int
    data: str
    random: bool
    weights_before: int
    weights_after: int
    layers: tuple[LayerError, ...] = ()
    held_out: bool = True

    @property
    def drop(self) -> float:
        """What was lost, 0 to 1: see `OutputAccuracy.drop`; of the worst output."""
        return worst_drop(self.outputs)

    @property
    def inputs(self) -> str:
        """What was measured on, in words."""
        plural = "s" if self.samples != 1 else ""
        if self.held_out:
            return f"{self.samples} held-out input{plural} of {self.data}"
        return f"{self.samples} input{plural} of {self.data}, {SEEN_DATA}"

    def with_layers(self, layers: Sequence[LayerError]) -> AccuracyReport:
        """Return the report with the error of each layer in it."""
        return replace(self, layers=tuple(layers))

    def summary(self) -> str:
        """Return accuracy and size as text of a few lines."""
        lines = [f"accuracy on {self.inputs}"]
        if self.random:
            lines = [f"{RANDOM_DATA} ({self.samples} samples)"]
        for item in self.outputs:
            top1 = "" if item.top1 is None else f", top-1 agreement {item.top1:.2%}"
            lines.append(
                f"output {item.name}: SQNR {item.sqnr_db:.1f} dB, cosine {item.cosine:.6f}, "
                f"max error {item.max_abs:.3g} ({item.relative:.2%} of the largest){top1}"
            )
        lines.append(f"weights {size_change(self.weights_before, self.weights_after)}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values, equal for equal inputs; infinity is ``None``."""
        fields = {key: value for key, value in asdict(self).items() if key != "layers"}
        fields["outputs"] = [item.to_json() for item in self.outputs]
        if self.layers:
            fields["layers"] = [item.to_json() for item in self.layers]
        return fields


def measure_accuracy(
    original: ReadModel, quantized: ReadModel, data: CalibrationData
) -> AccuracyReport:
    """Run both models in ONNX Runtime on held-out inputs and compare every output.

    Parameters
    ----------
    original
        The float model.
    quantized
        The same with quantized weights and QuantizeLinear and DequantizeLinear around its nodes.
    data
        Inputs that were not calibrated with.

    Raises
    ------
    CheckFailedError
        Something in the quantized model becomes NaN or Inf that is finite in the float model; the
        message names the layer.
    UserInputError
        ONNX Runtime refuses a model or an input.
    """
    check_finite(quantized, data, "the quantized model")
    outputs = compare_outputs(
        FloatOutputs(original, data, keep_bytes=0), OnnxSession(quantized), logit_outputs(original)
    )
    return AccuracyReport(
        outputs,
        len(data),
        data.description,
        data.is_random,
        weight_bytes(original),
        weight_bytes(quantized),
    )


def weight_bytes(model: ReadModel) -> int:
    """Return how many bytes the constants take, those kept outside of the graph included."""
    inside = sum(_tensor_bytes(tensor) for tensor in model.proto.graph.initializer)
    return inside + sum(array.nbytes for array in model.weights.values())


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes of a tensor as it is stored raw: two values of four bits share one."""
    import onnx
    from onnx import numpy_helper

    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    array = numpy_helper.to_array(tensor)
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
        return -(-array.size // 2)
    return array.nbytes


def size_change(before: int, after: int) -> str:
    """Return two sizes in bytes as ``10.00 MB -> 2.60 MB (26 %)``."""
    share = f" ({after / before:.0%})" if before else ""
    return f"{before / 1e6:.2f} MB -> {after / 1e6:.2f} MB{share}"
