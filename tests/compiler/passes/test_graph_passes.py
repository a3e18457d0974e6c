"""Gathers, layout, weights and provenance."""

from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts import open_bundle
from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.schedules.operators.matmul import pack_panels
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array


def test_an_index_past_the_table_reads_inside_the_table(tmp_path: Path) -> None:
    table = random_array(5, 3)
    model = model_from_text(
        "g (int64[4] ids) => (float[4,3] y) { y = Gather (table, ids) }", {"table": table}
    )
    bundle = open_bundle(compile(model, "host", tmp_path / "b").directory)
    ids = np.array([0, 4, 10**9, -1])
    np.testing.assert_array_equal(bundle.run({"ids": ids})["y"], table[[0, 4, 4, 4]])


CONVOLUTIONS = """
g (float[1,3,9,10] x) => (float[a,b,c,d] y) {
  p = Conv <pads=[1,1,1,1]> (x, w1, b1)
  q = Relu (p)
  r = Conv <strides=[2,2]> (q, w2)
  s = MaxPool <kernel_shape=[2,2]> (r)
  y = Sigmoid (s)
}
"""


def convolutions() -> dict[str, np.ndarray]:
    return {
        "w1": random_array(6, 3, 3, 3),
        "b1": random_array(6, seed=1),
        "w2": random_array(5, 6, 3, 3, seed=2),
    }


def test_nhwc_is_another_order_of_the_same_numbers(tmp_path: Path) -> None:
    model = model_from_text(CONVOLUTIONS, convolutions())
    result = compile(model, "host", tmp_path / "b", layout="NHWC")
    assert 'data_layout="NHWC"' not in result.imported.module.script()
    checked = verify(result.directory, model, per_layer=True, tolerance=1e-5)
    assert checked.ok
    assert {error.name for error in checked.layers} == {"q", "r", "y"}
    assert all(error.relative < 1e-5 for error in checked.layers)


def test_an_unknown_layout_is_refused(tmp_path: Path) -> None:
    model = model_from_text(CONVOLUTIONS, convolutions())
    with pytest.raises(UserInputError, match="NCWH") as refusal:
        compile(model, "host", tmp_path / "b", layout="NCWH")
    assert "NHWC" in refusal.value.hint
    assert not (tmp_path / "b").exists()


def test_weights_lie_apart_and_equal_ones_once(tmp_path: Path) -> None:
    weight = random_array(64, 64)
    model = model_from_text(
        "g (float[3,64] x) => (float[3,64] y) { a = MatMul (x, u) y = MatMul (a, v) }",
        {"u": weight, "v": weight.copy()},
    )
    result = compile(model, "host", tmp_path / "b")
    # Packed into panels for its kernel.
    (packed,) = result.bundle.map_weights()
    columns = packed.shape[-1]
    np.testing.assert_array_equal(packed, pack_panels(weight, columns))
    assert packed.tobytes() not in result.bundle.library_path.read_bytes()


def test_each_kernel_knows_its_operators_and_its_tensor(tmp_path: Path) -> None:
    model = model_from_text(CONVOLUTIONS, convolutions())
    kernels = compile(model, "host", tmp_path / "b").bundle.manifest.kernels
    by_tensor = {entry.output: entry.operators for entry in kernels}
    assert [name.rstrip("0123456789") for name in by_tensor["q"]] == ["conv2d", "add", "relu"]
    assert "y" in by_tensor


def test_equal_kernels_are_told_apart_by_their_operands(tmp_path: Path) -> None:
    model = model_from_text(
        """
        g (float[2,8] x) => (float[2,8] y) {
          h1 = MatMul (x, a)
          h2 = Relu (h1)
          h3 = MatMul (h2, b)
          h4 = Relu (h3)
          y = Tanh (h4)
        }
        """,
        {"a": random_array(8, 8), "b": random_array(8, 8, seed=5)},
    )
    result = compile(model, "host", tmp_path / "b")
    tensors = [entry.output for entry in result.bundle.manifest.kernels]
    assert tensors == ["h2", "y"]
    assert verify(result.directory, model, per_layer=True, tolerance=1e-5).ok
