"""What moves elements runs on bytes, whatever stands behind, and changes none of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from tests.compiler.integer.harness import (
    bundle_outputs,
    integer_outputs,
    lower,
    operators,
    run_onnxruntime,
    runs,
)
from tests.compiler.integer.islands import Island, weight

SHAPE = (2, 8, 6, 10)


def ints(*values: int) -> np.ndarray:
    """An int64 constant."""
    return np.array(values, np.int64)


# Body behind the quantized `ad` of SHAPE; constants.
BODIES = {
    "DepthToSpace": ("r = DepthToSpace<blocksize=2>(ad)", {}),
    "Expand": ("r = Expand(ad, s)", {"s": ints(3, 1, 1, 1, 1)}),
    "Flatten": ("r = Flatten<axis=2>(ad)", {}),
    "Gather": ("r = Gather<axis=1>(ad, i)", {"i": ints(3, 0, -1)}),
    "GatherElements": ("r = GatherElements<axis=3>(ad, i)", {"i": ints(1, 9).reshape(1, 1, 1, 2)}),
    "GatherND": ("r = GatherND(ad, i)", {"i": ints(1, 7, 0, 2).reshape(2, 2)}),
    "MaxPool": ("r = MaxPool<kernel_shape=[3,2], pads=[1,0,1,1], strides=[2,1]>(ad)", {}),
    "Pad": ("r = Pad(ad, p)", {"p": ints(0, 1, 0, 2, 0, 0, 3, 0)}),
    "Pad reflect": ('r = Pad<mode="reflect">(ad, p)', {"p": ints(0, 0, 1, 2, 0, 0, 3, 0)}),
    "ReduceMax": ("r = ReduceMax<keepdims=0>(ad, x)", {"x": ints(2, 3)}),
    "ReduceMin": ("r = ReduceMin(ad, x)", {"x": ints(-1)}),
    "Relu": ("r = Relu(ad)", {}),
    "Reshape": ("r = Reshape(ad, s)", {"s": ints(2, -1, 15)}),
    "Resize": ("r = Resize(ad, , f)", {"f": np.array([1, 1, 2, 3], np.float32)}),
    "Slice": ("r = Slice(ad, b, e, x)", {"b": ints(1, 2), "e": ints(7, 9), "x": ints(1, 3)}),
    "SpaceToDepth": ("r = SpaceToDepth<blocksize=2>(ad)", {}),
    "Split": ("r, t = Split<axis=1>(ad, s)", {"s": ints(3, 5)}),
    "Squeeze": (
        "u = Slice(ad, b, e, x)\nr = Squeeze(u, x)",
        {"b": ints(1), "e": ints(2), "x": ints(1)},
    ),
    "Tile": ("r = Tile(ad, s)", {"s": ints(1, 2, 1, 1)}),
    "Transpose": ("r = Transpose<perm=[0,2,3,1]>(ad)", {}),
    "Unsqueeze": ("r = Unsqueeze(ad, x)", {"x": ints(0, 5)}),
    "several": ("t = Transpose<perm=[0,2,3,1]>(ad)\nr = Reshape(t, s)", {"s": ints(2, 60, 8)}),
    "concat of one scale": ("t = Relu(ad)\nr = Concat<axis=2>(ad, t)", {}),
}


def bodies(quantized: bool, dtype: str) -> dict[str, Island]:
    """The islands, with a Q behind or not."""
    return {
        name: Island(body, {"a": SHAPE}, constants, inputs=dtype, result=dtype, quantized=quantized)
        for name, (body, constants) in BODIES.items()
    }


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
@pytest.mark.parametrize("name", BODIES)
def test_it_moves_bytes_and_dequantizes_behind(name: str, dtype: str) -> None:
    island = bodies(False, dtype)[name]
    model, arrays = island.model(), island.arrays()
    lowered = lower(model)
    assert set(runs(lowered).values()) == {"integer"}, lowered.nodes
    assert operators(lowered)[0] == "QuantizeLinear"
    assert operators(lowered)[-1] == "DequantizeLinear"
    assert operators(lowered).count("DequantizeLinear") == 1
    (ours,) = integer_outputs(lowered, arrays)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    assert np.array_equal(ours, plain)


@pytest.mark.parametrize("name", BODIES)
def test_a_q_behind_is_a_change_of_scale(name: str) -> None:
    island = bodies(True, "uint8")[name]
    model, arrays = island.model(), island.arrays()
    lowered = lower(model)
    assert "DequantizeLinear" not in operators(lowered)
    (ours,) = integer_outputs(lowered, arrays)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    assert np.array_equal(ours, plain)


def test_q_of_the_same_scale_is_nothing() -> None:
    body = "t = Transpose<perm=[0,2,3,1]>(ad)\ntq = QuantizeLinear(t, sa, za)\n"
    body += "td = DequantizeLinear(tq, sa, za)\nr = Flatten(td)"
    lowered = lower(Island(body, {"a": SHAPE}, quantized=False).model())
    assert operators(lowered) == ["QuantizeLinear", "Transpose", "Flatten", "DequantizeLinear"]


def test_one_tensor_of_bytes_serves_integer_and_float_readers() -> None:
    body = "t = Transpose<perm=[0,2,3,1]>(ad)\nu = Tanh(ad)\nv = Exp(ad)\nw = Add(u, v)\n"
    body += "k = Reshape(t, s)\nl = Reshape(w, s)\nr = Add(k, l)"
    island = Island(body, {"a": SHAPE}, {"s": ints(-1)}, quantized=False)
    lowered = lower(island.model())
    # One for Tanh and Exp, one for what was moved.
    assert operators(lowered).count("DequantizeLinear") == 2
    (ours,) = integer_outputs(lowered, island.arrays())
    (plain,) = run_onnxruntime(island.model(), island.arrays(), fused=False)
    assert np.array_equal(ours, plain)


def test_an_embedding_table_stays_bytes() -> None:
    table = weight(50, 6, axis=None)
    body = "wd = DequantizeLinear(w, sw, zw)\ni = ArgMax<axis=-1, keepdims=0>(a)\n"
    body += "g = Gather(wd, i)\nt = ReduceSum(ad)\nr = Add(g, t)"
    island = Island(body, {"a": (3, 50)}, table, quantized=False)
    lowered = lower(island.model())
    gather = next(n for n in lowered.model.proto.graph.node if n.op_type == "Gather")
    assert "integer" in [node.runs for node in lowered.nodes if node.op_type == "Gather"]
    tables = {t.name: t for t in lowered.model.proto.graph.initializer}
    assert tables[gather.input[0]].data_type == 3
    (ours,) = integer_outputs(lowered, island.arrays())
    (plain,) = run_onnxruntime(island.model(), island.arrays(), fused=False)
    assert np.array_equal(ours, plain)


def test_a_pad_that_no_byte_stands_for_is_refused() -> None:
    body = "c = Constant<value_float=0.01>()\nr = Pad(ad, p, c)"
    island = Island(body, {"a": (3, 4)}, {"p": ints(0, 1, 1, 0)}, quantized=False)
    (node,) = lower(island.model()).nodes
    assert node.reason == "it pads with a number that no byte stands for"


def test_bundles_move_bytes_too(tmp_path: Path) -> None:
    """All of them in one bundle: each on its own input, joined as one row of float."""
    lines, names = [], []
    constants: dict[str, np.ndarray] = {"row": ints(-1)}
    for index, (body, values) in enumerate(BODIES.values()):
        renamed = {name: f"{name}{index}" for name in (*values, "r", "t", "u")}
        body = re.sub(r"\b\w+\b", lambda word, names=renamed: names.get(word[0], word[0]), body)
        constants |= {renamed[name]: value for name, value in values.items()}
        lines += [body, f"row{index} = Reshape({renamed['r']}, row)"]
        names.append(f"row{index}")
    lines.append(f"r = Concat<axis=0>({', '.join(names)})")
    island = Island("\n".join(lines), {"a": SHAPE}, constants, quantized=False)
    model, arrays = island.model(), island.arrays()
    (ours,) = bundle_outputs(model, arrays, tmp_path)
    (plain,) = run_onnxruntime(model, arrays, fused=False)
    assert np.array_equal(ours, plain)
