"""Networks that onnxruntime's own tools have quantized: read, compiled and verified."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.compiler.read import read
from tests.compiler.frontend.quantized.quantized_models import kinds
from tests.tiny_networks import write_convolutions, write_linear

NETWORKS = {"conv": (write_convolutions, (1, 3, 33, 33)), "linear": (write_linear, (2, 8))}
#: What may stay of a network that is quantized throughout.
STANDARD = {
    "Add",
    "Cast",
    "Conv",
    "ConvInteger",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "MatMul",
    "MatMulInteger",
    "Mul",
    "QuantizeLinear",
    "Relu",
    "Softmax",
}


def calibration(shape: tuple[int, ...]) -> Any:
    """Return four random inputs, as onnxruntime's quantizer wants them."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            arrays = [rng.standard_normal(shape).astype(np.float32) for _ in range(4)]
            self.rows: Iterator[dict[str, np.ndarray]] = iter([{"x": a} for a in arrays])

        def get_next(self) -> Any:
            return next(self.rows, None)

    return Reader()


def compiles_and_is_right(path: Path, tolerance: float = 1e-4) -> list[str]:
    """Compile, compare with onnxruntime; return the operators that were read."""
    directory = compile(path, "host", path.with_suffix("")).directory
    result = verify(directory, path, tolerance=tolerance)
    assert result.ok, result.worst
    return kinds(read(path))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", ["QUInt8", "QInt8"])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("network", NETWORKS)
def test_static(network, form, activation, per_channel, tmp_path):
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    write, shape = NETWORKS[network]
    quantize_static(
        write(tmp_path / "float.onnx"),
        tmp_path / "quantized.onnx",
        calibration(shape),
        quant_format=QuantFormat[form],
        activation_type=QuantType[activation],
        weight_type=QuantType.QInt8,
        per_channel=per_channel,
    )
    found = compiles_and_is_right(tmp_path / "quantized.onnx")
    assert set(found) <= STANDARD
    assert {"QuantizeLinear", "DequantizeLinear"} <= set(found)


@pytest.mark.parametrize(
    ("activation", "weight"),
    [("QUInt16", "QInt8"), ("QInt16", "QInt16"), ("QUInt8", "QInt4"), ("QUInt8", "QUInt4")],
)
def test_other_types(activation, weight, tmp_path):
    """One step of 16 bits is 1e-3 of this network's output of a softmax."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    quantize_static(
        write_convolutions(tmp_path / "float.onnx"),
        tmp_path / "quantized.onnx",
        calibration((1, 3, 33, 33)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType[activation],
        weight_type=QuantType[weight],
    )
    assert set(compiles_and_is_right(tmp_path / "quantized.onnx", 1e-3)) <= STANDARD


@pytest.mark.parametrize("network", NETWORKS)
def test_dynamic(network, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    write, _ = NETWORKS[network]
    quantize_dynamic(write(tmp_path / "float.onnx"), tmp_path / "quantized.onnx")
    found = compiles_and_is_right(tmp_path / "quantized.onnx")
    assert {"ConvInteger", "MatMulInteger"} & set(found)


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_weights_of_4_bits(symmetric, form, tmp_path):
    from onnxruntime.quantization import QuantFormat
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    weight = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="layer")],
        "layer",
        [helper.make_tensor_value_info("x", 1, [2, 96])],
        [helper.make_tensor_value_info("y", 1, [2, 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    quantizer = MatMulNBitsQuantizer(
        model, block_size=32, is_symmetric=symmetric, quant_format=QuantFormat[form]
    )
    quantizer.process()
    wrapped: Any = quantizer.model
    onnx.save(wrapped.model, tmp_path / "quantized.onnx")
    assert compiles_and_is_right(tmp_path / "quantized.onnx") == ["MatMulNBits"]
