"""Recipes: what is read, what is refused, and which node gets what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.quantization.assign import (
    assign_precisions,
    layer_names,
    node_matches,
)
from autoglm_tvm.compiler.quantization.quantize_model import chosen_precisions
from autoglm_tvm.compiler.quantization.recipe import (
    Int4Settings,
    Int8Settings,
    Recipe,
    built_in_recipes,
    load_recipe,
    write_recipe,
)
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.onnx_text import model_from_text, random_array
from tests.compiler.quantization.float_models import (
    recipe,
    residual_network,
    transformer_block,
    with_paths,
)

FROM_THE_ISSUE = """
default: int8
exceptions: {"*/attention/query*": fp16, "*/attention/key*": fp16, "lm_head": int4}
"""


def attention_model() -> onnx.ModelProto:
    text = """
    net (float[1,8,32] x) => (float[1,8,64] y) {
        [__model__0__attention__query__MatMul] q0 = MatMul (x, wq)
        [__model__0__attention__query__Add] q = Add (q0, b)
        [__model__0__attention__key__MatMul] k = MatMul (q, wk)
        [__model__0__attention__value__MatMul] v = MatMul (k, wv)
        [__lm_head__MatMul] y = MatMul (v, wo)
    }
    """
    weights = {name: random_array(32, 32) for name in ("wq", "wk", "wv")}
    weights |= {"b": random_array(32), "wo": random_array(32, 64)}
    return read(with_paths(model_from_text(text, weights))).proto


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_issues_example(tmp_path: Path) -> None:
    loaded = load_recipe(written(tmp_path, FROM_THE_ISSUE))
    chosen = assign_precisions(loaded, attention_model())
    assert chosen == {
        "/model/0/attention/query/MatMul": "fp16",
        "/model/0/attention/query/Add": "fp16",
        "/model/0/attention/key/MatMul": "fp16",
        "/model/0/attention/value/MatMul": "int8",
        "/lm_head/MatMul": "int4",
    }


def test_built_in_recipes_load() -> None:
    assert built_in_recipes() == ("fp16", "int4", "int8", "int8-dynamic", "mixed")
    for name in built_in_recipes():
        loaded = load_recipe(name)
        assert loaded.name == name
        assert loaded.default == ("int8" if name == "mixed" else name)


def test_round_trip(tmp_path: Path) -> None:
    before = Recipe(
        "mine",
        "int8",
        (("*/query*", "fp16"), ("lm_head", "int4"), ("layer:-1", "fp32"), ("op:Gemm", "int8")),
        Int8Settings(method="mse", smooth=0.5, activation="int8", per_channel=False),
        Int4Settings(64, symmetric=False),
    )
    path = tmp_path / "mine.yaml"
    write_recipe(before, path)
    assert load_recipe(path) == before
    assert path.read_text(encoding="utf-8").startswith("#")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("defualt: int8", "did you mean 'default'"),
        ("default: in8", "did you mean 'int8'"),
        ("exceptions: {a: int8}", "has no default"),
        ("default: int8\nexceptions: {a: fp17}", "did you mean 'fp16'"),
        ("default: int8\nexceptions: {a: int8, a: fp16}", "'a' is given twice"),
        ("default: int8\nexceptions: {/a: int8, a: fp16}", "'a' is given twice"),
        ("default: int8\nint8: {method: entropi}", "did you mean 'entropy'"),
        ("default: int8\nint8: {metod: entropy}", "did you mean 'method'"),
        ("default: int8\nint8: {percentile: 101}", "outside of 50 to 100"),
        ("default: int8\nint8: {percentile: '99'}", "must be a number"),
        ("default: int8\nint8: {smooth: 2}", "outside of 0 to 1"),
        ("default: int8\nint8: {per_channel: 1}", "must be true or false"),
        ("default: int8\nint8: {activation: int16}", "did you mean 'int8'"),
        ("default: int4\nint4: {group: 48}", "must be one of 32, 64, 128"),
        ("default: int4\nint4: {group: true}", "must be one of 32, 64, 128"),
        ("default: int4\nint4: {group: 32.0}", "int4: group is 32.0, and must be one of 32"),
        ("default: int4\nint4: 32", "must be names with values"),
        ("default: int8\nexceptions: {layer:x: fp16}", "names no layers"),
        ("default: int8\nexceptions: {layer:3-1: fp16}", "names no layers"),
        ("default: int8\nexceptions: {'': fp16}", "names nothing"),
        ("default: int8\nexceptions: {*/q*: fp16}", "this is not YAML"),
        ("- int8", "must be names with values, not list"),
    ],
)
def test_bad_recipe_files(tmp_path: Path, text: str, part: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserInputError) as refusal:
        load_recipe(path)
    assert part in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert refusal.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "default: int8\nexceptions: {nothing*: fp16}",
        "default: int8\nexceptions: {'layer:0': fp16, stem: int8}",
        "default: int8\nexceptions: {stem_relu: int4}",
        "default: fp32",
    ],
)
def test_what_does_not_fit_the_model_names_the_file(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UserInputError) as refusal:
        chosen_precisions(load_recipe(path), read(residual_network()))
    assert str(path) in str(refusal.value)


def test_unknown_recipe_names_the_near_one() -> None:
    with pytest.raises(UserInputError, match="did you mean 'int8-dynamic'"):
        load_recipe("int8-dinamic")


@pytest.mark.parametrize(
    ("exceptions", "part"),
    [
        ({"*/attention/qerry*": "fp16"}, "matches no node"),
        ({"lm_haed": "fp16"}, "did you mean 'lm_head'"),
        ({"op:MatMull": "fp16"}, "did you mean 'MatMul'"),
        ({"layer:4": "fp16"}, "the model has 4 layers"),
        ({"layer:-5": "fp16"}, "the model has 4 layers"),
        ({"lm_head": "fp16", "op:MatMul": "int8"}, "decides nothing"),
    ],
)
def test_exceptions_that_do_not_fit(exceptions: dict[str, str], part: str) -> None:
    with pytest.raises(UserInputError) as refusal:
        assign_precisions(recipe("int8", exceptions), attention_model())
    assert part in str(refusal.value)


def test_exceptions_that_agree_are_no_contradiction() -> None:
    chosen = assign_precisions(
        recipe("int8", {"layer:0": "fp16", "layer:-1": "fp16"}), residual_only_conv()
    )
    assert chosen == {"c": "fp16"}


def test_later_exceptions_win() -> None:
    chosen = assign_precisions(
        recipe("fp32", {"op:MatMul": "int8", "*/attention/key*": "fp16", "layer:-1": "int4"}),
        attention_model(),
    )
    assert chosen["/model/0/attention/key/MatMul"] == "fp16"
    assert chosen["/lm_head/MatMul"] == "int4"


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("lm_head", "/lm_head/MatMul", True),
        ("lm_head", "/model/lm_head/MatMul", True),
        ("lm_head", "/lm_head2/MatMul", False),
        ("/a/b", "a/b", True),
        ("a/b", "/a/b", True),
        ("*/b", "/a/b", True),
        ("A/b", "a/b", False),
        ("a/b", "/x/a/b/c", True),
        ("node[0]", "node[0]", True),
    ],
)
def test_names(pattern: str, name: str, fits: bool) -> None:
    assert node_matches(pattern, name) is fits


def test_layers_are_counted_in_graph_order() -> None:
    assert layer_names(residual_network()) == ["stem", "left", "head"]
    chosen = assign_precisions(
        recipe("int8", {"layer:0-1": "fp16"}), read(residual_network()).proto
    )
    assert [chosen[name] for name in ("stem", "left", "head")] == ["fp16", "fp16", "int8"]


def test_what_cannot_be_int4_is_refused_by_name() -> None:
    with pytest.raises(UserInputError, match=r"'stem' \(Conv\) cannot be int4"):
        assign_precisions(recipe("int8", {"stem": "int4"}), read(residual_network()).proto)


@pytest.mark.parametrize("by", ["default", "exception"])
def test_groups_that_do_not_divide_k(by: str) -> None:
    settings = Int4Settings(group=128)
    how = (
        recipe("int4", int4=settings)
        if by == "default"
        else recipe("int8", {"mlp/down": "int4"}, settings)
    )
    with pytest.raises(UserInputError) as refusal:
        assign_precisions(how, read(transformer_block()).proto)
    assert "groups of 128 do not divide K = " in str(refusal.value)
    assert "mlp/" in str(refusal.value)


def test_default_leaves_what_cannot_be_in_float() -> None:
    chosen = assign_precisions(recipe("int8-dynamic"), attention_model())
    assert set(chosen.values()) == {"int8-dynamic"}
    conv = assign_precisions(recipe("int4", int4=Int4Settings(32)), residual_only_conv())
    assert conv == {"c": "fp32"}


def residual_only_conv() -> onnx.ModelProto:
    text = "net (float[1,3,8,8] x) => (float[1,4,8,8] y) { [c] y = Conv (x, w) }"
    return read(model_from_text(text, {"w": random_array(4, 3, 1, 1)})).proto


def test_constants_outside_of_the_graph_are_constants() -> None:
    """Weights, biases and tables; an input that is no constant makes no layer."""
    text = """
    net (int64[1,4] ids, float[64,64] computed) => (float[1,32,64] y, float[1,4,64] z) {
        [table] t = Gather (words, ids)
        [flat] f = Reshape (t, shape)
        [layer] g = Gemm (f, w, b)
        [back] y = Reshape (g, shape3)
        [dynamic] z = MatMul (t, computed)
    }
    """
    weights = {
        "words": random_array(300, 64),
        "w": random_array(64, 512),
        "b": random_array(512),
        "shape": np.array([4, 64]),
        "shape3": np.array([1, -1, 64]),
    }
    model = read(model_from_text(text, weights), detach_above=0)
    assert {"words", "w", "b"} <= set(model.weights)
    for default in ("int8", "fp16", "int4"):
        chosen = assign_precisions(recipe(default), model.proto, model.weights)
        assert chosen["layer"] == default
        assert default == "fp16" or chosen.get("dynamic", "fp32") == "fp32"
    assert assign_precisions(recipe("fp16"), model.proto, model.weights)["table"] == "fp16"
    assert layer_names(model.proto, model.weights) == ["layer"]
