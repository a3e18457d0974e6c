"""Layout conversion: what TVM's pass dies of does not reach it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoglm_tvm.artifacts.local_run import open_bundle
from autoglm_tvm.compiler import compile, verify
from tests.compiler.onnx_text import model_from_text, random_array


def test_a_graph_without_convolutions_is_left_alone(tmp_path: Path) -> None:
    model = model_from_text("g (int64[6] x) => (int64[n] y) { y = Unique(x) }")
    directory = compile(model, "host", tmp_path / "bundle").directory
    found = open_bundle(directory).run({"x": np.array([3, 1, 3, 2, 1, 1])})["y"]
    np.testing.assert_array_equal(found, [1, 2, 3])


def test_dropout_and_negative_axes_behind_a_convolution(tmp_path: Path) -> None:
    model = model_from_text(
        """g (float[1,3,1,6] x) => (float[1,4,6] y) {
            c = Conv(x,w)
            d = Dropout(c)
            r = Relu(d)
            y = Squeeze(r,axes)
        }""",
        {"w": random_array(4, 3, 1, 1), "axes": np.array([-2])},
    )
    directory = compile(model, "host", tmp_path / "bundle").directory
    assert verify(directory, model).ok
