"""Every kernel is explained, those to worry about first, from a bundle as from a model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.artifacts.manifest import FILE_NAME
from autoglm_tvm.compiler import Explanation, compile, explain
from autoglm_tvm.schedules import FALLBACK
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array

# A product in tiles, one of long integers that has no rule, elementwise steps, and a sort.
MIXED = """
g (float[16,32] x, int64[4,6] i)
  => (float[16,64] y, int64[4,5] j, float[32,16] r, int64[6,4] c, float[16,3] v, int64[16,3] at) {
  product = MatMul (x, w)
  sum = Add (product, b)
  y = Relu (sum)
  j = MatMul (i, u)
  r = Transpose <perm=[1,0]> (x)
  c = Transpose <perm=[1,0]> (i)
  v, at = TopK <axis=1> (x, k)
}
"""


def mixed() -> onnx.ModelProto:
    arrays = {
        "w": random_array(32, 64),
        "b": random_array(64),
        "u": np.arange(30).reshape(6, 5),
        "k": np.array([3]),
    }
    return model_from_text(MIXED, arrays)


@pytest.fixture(scope="module")
def explained() -> Explanation:
    return explain(mixed(), threads=2)


def test_those_to_worry_about_come_first(explained: Explanation) -> None:
    kinds = [kernel.kind for kernel in explained.kernels]
    assert kinds == sorted(kinds, key=["unscheduled", "fallback", "special"].index)
    assert set(kinds) == {"unscheduled", "fallback", "special"}
    fallback = [kernel for kernel in explained.kernels if kernel.kind == "fallback"]
    order = [(not kernel.closest_rule, -(kernel.iterations or 0)) for kernel in fallback]
    assert order[0][0] is False
    assert order == sorted(order)
    assert sum(explained.by_rule().values()) == len(explained.kernels)


def test_a_recognised_kernel(explained: Explanation) -> None:
    (kernel,) = explained.select(tensor="y").kernels
    assert (kernel.kind, kernel.rule) == ("special", "contraction")
    assert "in registers" in kernel.description
    assert [name.rstrip("0123456789") for name in kernel.operators] == ["matmul", "add", "relu"]
    assert kernel.inner == ("product", "sum")
    assert kernel.arguments[0] == "float32[16, 32]"
    assert kernel.arguments[-1] == "float32[16, 64]"
    assert kernel.iterations is not None
    assert kernel.iterations >= 16 * 32 * 64
    # The same kernel, by what it computes on the way and by its name.
    assert explained.select(tensor="sum").kernels == (kernel,)
    assert explained.select(pattern="fused_matmul*").kernels == (kernel,)


def test_a_kernel_of_the_fallback_names_the_closest_rule(explained: Explanation) -> None:
    (kernel,) = explained.select(tensor="j").kernels
    assert (kernel.kind, kernel.rule) == ("fallback", FALLBACK)
    assert kernel.closest_rule == "contraction"
    assert "int64" in kernel.refusal
    assert kernel.hint == ""


def test_a_kernel_that_was_left_says_why(explained: Explanation) -> None:
    (kernel,) = [kernel for kernel in explained.kernels if kernel.kind == "unscheduled"]
    assert "topk" in kernel.function
    assert kernel.rule == ""
    assert kernel.description
    assert explained.by_rule()[""] == 1


def test_calls_of_one_kernel_are_one_entry() -> None:
    model = model_from_text(
        "g (float[16,32] x) => (float[16,32] y) { a = MatMul (x, u) y = MatMul (a, v) }",
        {"u": random_array(32, 32), "v": random_array(32, 32, seed=1)},
    )
    (kernel,) = explain(model).select(pattern="matmul*").kernels
    assert kernel.calls == 2
    assert kernel.tensors == ("a", "y")
    (single,) = explain(truncated(model)).select(pattern="matmul*").kernels
    assert single.iterations is not None
    assert kernel.iterations == 2 * single.iterations


def truncated(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with its first node alone."""
    first = onnx.ModelProto.FromString(model.SerializeToString())
    del first.graph.node[1:]
    del first.graph.initializer[1:]
    first.graph.output[0].name = "a"
    return first


def test_a_bundle_is_explained_as_its_model_was(tmp_path: Path) -> None:
    """What the manifest holds is all that is needed; and nothing in the bundle changes."""
    from tests.cli.command_line import snapshot

    compiled = compile(mixed(), "host", tmp_path / "b", threads=2)
    before = snapshot(compiled.directory)
    found = explain(compiled.directory)
    assert found == replace(explain(mixed(), threads=2), source=str(compiled.directory))
    assert snapshot(compiled.directory) == before
    assert json.loads(json.dumps(found.to_json()))["rules"] == found.by_rule()


def test_symbolic_sizes_are_hinted_at_with_the_option_that_fixes_them() -> None:
    model = model_from_text(
        "g (float[n,m] x, float[m,4] w) => (float[n,4] y) { y = MatMul (x, w) }"
    )
    (kernel,) = explain(model).select(tensor="y").kernels
    assert kernel.kind == "fallback"
    assert kernel.iterations is None
    assert kernel.arguments[-1] == "float32[n, 4]"
    assert "--shape x=n,m" in kernel.hint
    assert "--shape w=m,4" in kernel.hint
    fixed = explain(model, shapes={"x": (3, 8), "w": (8, 4)})
    assert [kernel.kind for kernel in fixed.select(tensor="y").kernels] == ["special"]


def test_a_convolution_in_the_other_layout_is_hinted_at(convolutions_model: Path) -> None:
    found = explain(convolutions_model, layout="NCHW")
    convolutions = [k for k in found.kernels if "conv2d" in k.function]
    assert convolutions
    for kernel in convolutions:
        assert kernel.kind == "fallback"
        assert kernel.closest_rule == "contraction"
        assert "--layout NHWC" in kernel.hint
    better = explain(convolutions_model, layout="NHWC")
    kinds = {kernel.kind for kernel in better.kernels if "conv2d" in kernel.function}
    assert kinds == {"special"}


@pytest.mark.parametrize("options", [{"pattern": "fused_matmull*"}, {"tensor": "summ"}])
def test_what_no_kernel_fits_names_near_ones(
    options: dict[str, str], explained: Explanation
) -> None:
    with pytest.raises(UserInputError, match="did you mean") as caught:
        explained.select(**options)
    assert "--all" in caught.value.hint


def test_a_bundle_takes_no_target(convolutions_bundle: Path) -> None:
    settled: list[dict[str, Any]] = [
        {"target": "host"},
        {"shapes": {"x": (1, 3, 8, 8)}},
        {"layout": "NCHW"},
    ]
    for options in settled:
        with pytest.raises(UserInputError, match="compiled already"):
            explain(convolutions_bundle, **options)
    assert explain(convolutions_bundle, shapes={}).target == "host"


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserInputError, match=FILE_NAME):
        explain(tmp_path)


def test_the_manifest_holds_a_decision_for_each_call(convolutions_bundle: Path) -> None:
    kernels = read_bundle(convolutions_bundle).manifest.kernels
    assert all(entry.rule and entry.description and entry.arguments for entry in kernels)
