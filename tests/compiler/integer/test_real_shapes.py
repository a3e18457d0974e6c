"""Blocks of real networks, quantized by onnxruntime: what runs as integers, and how exactly."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.integer.harness import (
    DOTPROD,
    VNNI,
    bundle_outputs,
    integer_outputs,
    lower,
    operators,
    run_onnxruntime,
)
from tests.compiler.integer.real_shapes import BLOCKS, block_inputs, quantize

WAYS = [(True, "uint8"), (True, "int8"), (False, "uint8"), (False, "int8")]
# Operators of the transformer block that have no integer form.
FLOAT = {"Softmax", "LayerNormalization", "Erf", "MatMul", "Mul", "Add"}


@pytest.mark.parametrize(("per_channel", "activation"), WAYS)
@pytest.mark.parametrize("name", ["mobile", "resnet"])
def test_convolutional_blocks_are_integers_from_end_to_end(
    name: str, per_channel: bool, activation: str, tmp_path: Path
) -> None:
    block = BLOCKS[name]()
    model = quantize(block, tmp_path, per_channel=per_channel, activation=activation)
    arrays = block_inputs(block, seed=9)
    (fused,) = run_onnxruntime(model, arrays, fused=True)
    for machine in (VNNI, DOTPROD):
        lowered = lower(model, machine)
        assert {node.runs for node in lowered.nodes} == {"integer"}, lowered.nodes
        counts = Counter(operators(lowered))
        assert (counts["QuantizeLinear"], counts["DequantizeLinear"]) == (1, 1)
        (ours,) = integer_outputs(lowered, arrays)
        np.testing.assert_array_equal(ours, fused)


@pytest.mark.parametrize(("per_channel", "activation"), WAYS)
def test_a_transformer_block_multiplies_integers(
    per_channel: bool, activation: str, tmp_path: Path
) -> None:
    block = BLOCKS["transformer"]()
    model = quantize(block, tmp_path, per_channel=per_channel, activation=activation)
    arrays = block_inputs(block, seed=9)
    lowered = lower(model)
    assert operators(lowered).count("MatMulInteger") == 6
    assert {node.op_type for node in lowered.nodes if node.runs == "float"} <= FLOAT
    (ours,) = integer_outputs(lowered, arrays)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    assert (ours != plain).mean() < 0.01


@pytest.mark.parametrize("name", BLOCKS)
def test_bundles_equal_onnxruntime(name: str, tmp_path: Path) -> None:
    block = BLOCKS[name]()
    model = quantize(block, tmp_path, per_channel=True, activation="uint8")
    arrays = block_inputs(block, seed=9)
    (found,) = bundle_outputs(model, arrays, tmp_path)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    if name == "transformer":
        # Its Softmax is rounded otherwise, and onnxruntime's fused attention differs from its own.
        assert (found != plain).mean() < 0.01
        return
    (fused,) = run_onnxruntime(model, arrays, fused=True)
    np.testing.assert_array_equal(found, fused)
