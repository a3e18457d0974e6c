"""The networks of the benchmark are what they say they are, and compute something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from benchmarks.inputs import inputs_of
from benchmarks.models.catalog import (
    END_TO_END,
    NETWORKS,
    Case,
    all_cases,
    choose,
    model_file,
)
from benchmarks.models.operators import OPERATORS
from benchmarks.models.packaged import PACKAGED
from benchmarks.multiply_adds import kernel_multiply_adds, total_multiply_adds
from benchmarks.peers.onnx_runtime import OnnxRuntime, profile_onnxruntime
from benchmarks.peers.peer import Task

#: Millions of weights and multiply-adds as published (torchvision's and timm's tables, computed
#: from the formula for the decoder), of which the models must be within 3 %.
PUBLISHED = {
    "mobilenet_v2": (3.50, 301),
    "resnet18": (11.69, 1814),
    "resnet50": (25.56, 4089),
    "squeezenet": (1.24, 349),
    "efficientnet_b0": (5.29, 386),
    "minilm": (22.6, 1410),
    "vit_tiny": (5.72, 1258),
    "decoder_prefill": (11.01, 11.01 * 128 + 2 * 16 * 128 * 128 * 64 / 1e6),
    "decoder_decode": (11.01, 11.01 + 2 * 16 * 129 * 64 / 1e6),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path / "cache"))


def run_in_onnxruntime(case: Case, model: ReadModel) -> list[np.ndarray]:
    names = tuple(spec.name for spec in model.outputs)
    return OnnxRuntime(Task(model_file(case), inputs_of(case, model), names, 1)).outputs()


def check(name: str) -> ReadModel:
    case = all_cases()[name]
    onnx.checker.check_model(onnx.load(model_file(case)), full_check=True)
    model = read(model_file(case), case.shapes or None)
    for spec, array in zip(model.outputs, run_in_onnxruntime(case, model), strict=True):
        assert array.shape == spec.shape
        assert np.all(np.isfinite(array))
        assert 1e-3 < array.std() < 1e2
    return model


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str) -> None:
    case = all_cases()[name]
    assert case.group != END_TO_END
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_have_the_published_size(name: str) -> None:
    model = check(name)
    weights = sum(np.prod(tensor.dims) for tensor in onnx.load(model_path(name)).graph.initializer)
    millions, macs = PUBLISHED[name]
    assert weights / 1e6 == pytest.approx(millions, rel=0.03)
    assert total_multiply_adds(model) / 1e6 == pytest.approx(macs, rel=0.03)


def model_path(name: str) -> Path:
    return model_file(all_cases()[name])


@pytest.mark.parametrize("name", PACKAGED)
def test_packaged_models_are_found_and_find_something(name: str) -> None:
    case = all_cases()[name]
    model = read(model_file(case), case.shapes)
    (found,) = run_in_onnxruntime(case, model)
    assert np.all(np.isfinite(found))
    assert found.max() > 0.5


def test_every_network_is_measured_or_is_there_on_demand() -> None:
    assert set(NETWORKS) == {*PUBLISHED, "bert_base"}
    default = {case.name for case in choose([])}
    assert default == {*PUBLISHED, *PACKAGED, *OPERATORS}
    assert [case.name for case in choose(["bert_base"])] == ["bert_base"]


def test_a_model_is_chosen_before_a_group_of_its_name() -> None:
    assert [case.name for case in choose(["matmul"])] == ["matmul"]
    assert [case.name for case in choose(["reduction", "softmax"])] == [
        "softmax",
        "layernorm",
        "global_pool",
    ]


def test_a_group_has_no_model_that_is_there_on_demand() -> None:
    assert {case.name for case in choose([END_TO_END])} == {*PUBLISHED, *PACKAGED}


def test_an_unknown_model_is_refused_with_the_list() -> None:
    with pytest.raises(UserInputError, match="no model or group 'resnet19'") as refusal:
        choose(["resnet19"])
    assert "resnet18" in refusal.value.hint


def test_a_missing_package_is_named() -> None:
    with pytest.raises(MissingToolError, match="rapidocr is not installed") as refusal:
        model_file(Case("ppocr6_det", END_TO_END))
    assert "pip install" in refusal.value.hint


def test_the_same_seed_gives_the_same_file() -> None:
    first, second = (NETWORKS["squeezenet"]().SerializeToString() for _ in range(2))
    assert first == second


def test_multiply_adds_of_kernels_add_up_to_those_of_the_network() -> None:
    model = read(model_path("squeezenet"))
    outputs = [node.output[0] for node in model.proto.graph.node if node.op_type != "Conv"]
    kernels = kernel_multiply_adds(model, outputs)
    assert sum(kernels) == total_multiply_adds(model)
    first = outputs.index("Relu_1")
    assert kernels[first] == 111 * 111 * 64 * 3 * 9
    pooling = next(i for i, name in enumerate(outputs) if name.startswith("MaxPool"))
    assert kernels[pooling] == 0


def test_onnxruntime_tells_the_time_of_its_nodes() -> None:
    case = all_cases()["attention"]
    model = read(model_file(case))
    names = tuple(spec.name for spec in model.outputs)
    nodes = profile_onnxruntime(Task(model_file(case), inputs_of(case, model), names, 1))
    operators = [node["operator"] for node in nodes]
    assert "Softmax" in operators
    assert all(node["microseconds"] >= 0 for node in nodes)
    assert any("float[1, 12, 128, 128]" in node["shapes"] for node in nodes)
