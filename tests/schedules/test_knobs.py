"""Every configuration of a kernel's knobs computes what the default computes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
import tvm
import tvm_ffi

from autoglm_tvm.compiler.build import build
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import OptimisedModel, optimise
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.schedule import schedule
from autoglm_tvm.compiler.tuning.splice import splice
from autoglm_tvm.compiler.tuning.tasks import TuningTask, tuning_tasks
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import Target, resolve_target
from tests.compiler.attention_models import Shape, projected
from tests.compiler.onnx_text import model_from_text, random_array
from tests.schedules.harness import Compiled
from tests.schedules.integer_products import random_bytes

# 13 pixels, 19 and 37 channels: nothing divides anything.
CONVOLUTIONS = """
    c1 = Conv <pads = [1, 1, 1, 1]> (x, w1)
    r1 = Relu(c1)
    d = Conv <pads = [1, 1, 1, 1], group = 19> (r1, wd)
    p = Conv (d, wp)
    y = Add(p, b)
"""


def convolutions() -> onnx.ModelProto:
    weights = {
        "w1": random_array(19, 7, 3, 3),
        "wd": random_array(19, 1, 3, 3),
        "wp": random_array(37, 19, 1, 1),
        "b": random_array(1, 37, 1, 1),
    }
    text = f"g (float[1,7,13,13] x) => (float[a,b,c,d] y) {{ {CONVOLUTIONS} }}"
    return model_from_text(text, weights)


def products() -> onnx.ModelProto:
    body = "m = MatMul(x, w) s = Sigmoid(m) y = Add(s, m)"
    text = f"g (float[2,21,33] x) => (float[a,b,c] y) {{ {body} }}"
    return model_from_text(text, {"w": random_array(33, 150)})


def integers() -> onnx.ModelProto:
    body = """
        a = ConvInteger <pads = [1, 1, 1, 1]> (x, w1)
        b = Clip (a, low, high)
        c = Cast <to = 2> (b)
        d = ConvInteger <group = 3, strides = [2, 1]> (c, w2, zero)
        e = Clip (d, low, high)
        f = Cast <to = 2> (e)
        y = ConvInteger (f, w3)
    """
    weights = {
        "w1": random_bytes("int8", 24, 7, 3, 3),
        "w2": random_bytes("int8", 36, 8, 3, 3),
        "w3": random_bytes("int8", 37, 36, 1, 1),
        "low": np.array(0, np.int32),
        "high": np.array(255, np.int32),
        "zero": np.array(99, np.uint8),
    }
    text = f"g (uint8[1,7,13,13] x) => (int32[a,b,c,d] y) {{ {body} }}"
    return model_from_text(text, weights)


def attention() -> onnx.ModelProto:
    shape = Shape(heads=3, rows=37, keys=29, depth=11, width=18)
    return projected(shape, "d = MatMul (q, k) s = Mul (d, c)", {"c": np.array(0.3, np.float32)})


def lowered(model: onnx.ModelProto, target: Target, choices: Choices) -> OptimisedModel:
    return optimise(import_onnx(read(model)), target, choices)


def tasks_of(model: onnx.ModelProto, target: Target) -> tuple[OptimisedModel, list[TuningTask]]:
    choices = Choices()
    found = lowered(model, target, choices)
    with tvm.target.Target(target.to_tvm_dict()), wide_indices():
        return found, tuning_tasks(found, choices, machine_of(target))


def run(model: onnx.ModelProto, target: Target, choices: Choices, *inputs: np.ndarray) -> Any:
    optimised = lowered(model, target, choices)
    scheduled = schedule(optimised, target, choices)
    built = build(scheduled.module, target, [])
    weights = tuple(array for _, array in optimised.weights)
    rules = tuple(entry.rule for entry in scheduled.kernels)
    assert all(not entry.refusal.startswith("the schedule failed") for entry in scheduled.kernels)
    return Compiled(built.executable, weights, rules, ()).run(*inputs)


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("make", [convolutions, products, integers, attention])
def test_random_configurations_are_right(make: Any, threads: int) -> None:
    model, target = make(), replace(resolve_target("host"), threads=threads)
    _, tasks = tasks_of(model, target)
    spaces = {task.workload: task.space for task in tasks if task.space is not None}
    assert spaces
    shapes = [[d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input]
    random_input = random_array if make is not integers else partial(random_bytes, "uint8")
    inputs = [random_input(*shape) for shape in shapes]
    expected = run(model, target, Choices(), *inputs)
    random = Random(threads)
    for _ in range(6):
        configs = {name: space.random(random) for name, space in spaces.items()}
        found = run(model, target, Choices(configs), *inputs)
        most = 0 if expected.dtype == np.int32 else 2e-5 * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=most, err_msg=f"{configs}")


def test_the_default_configuration_is_the_default_schedule() -> None:
    """So that a search which is told the default's time knows which point of the space it is."""
    model, target = convolutions(), resolve_target("host", threads=2)
    optimised, tasks = tasks_of(model, target)
    configs = {task.workload: task.space.default for task in tasks if task.space}
    assert len(configs) == 3
    again = lowered(model, target, Choices(configs))
    by_default = schedule(optimised, target)
    chosen = schedule(again, target, Choices(configs))
    for one, other in zip(by_default.kernels, chosen.kernels, strict=True):
        assert one.description == other.description
        assert tvm_ffi.structural_equal(
            by_default.module[one.function], chosen.module[other.function], map_free_vars=True
        )


@pytest.mark.parametrize("target", ["host", "android-arm64-v8.2", "android-arm64-v8.6"])
@pytest.mark.parametrize("make", [convolutions, products, integers, attention])
def test_a_spliced_kernel_is_the_one_that_lowering_makes(make: Any, target: str) -> None:
    model, machine = make(), resolve_target(target, threads=2)
    optimised, tasks = tasks_of(model, machine)
    random = Random(0)
    configs = {task.workload: task.space.random(random) for task in tasks if task.space}
    again = lowered(model, machine, Choices(configs))
    names = dict(zip((n for n, _ in optimised.calls), (n for n, _ in again.calls), strict=True))
    arrays = {array.shape for _, array in again.weights}
    spliced = 0
    with tvm.target.Target(machine.to_tvm_dict()), wide_indices():
        for task in tasks:
            if task.anchor is None or task.workload not in configs:
                continue
            function, weight = splice(task.function, task.anchor, configs[task.workload])
            other = again.module[names[task.kernel]]
            assert tvm_ffi.structural_equal(bare(function), bare(other), map_free_vars=True)
            assert weight is None or weight[1].shape in arrays
            spliced += 1
    assert spliced


@pytest.mark.parametrize("target", ["host", "android-arm64-v8.6"])
def test_records_of_tiles_that_cannot_be(target: str) -> None:
    """As old ones may be: of vectors in no pairs, or that do not divide a group's channels."""
    model, machine = integers(), resolve_target(target)
    choices = Choices()
    by_default = lowered(model, machine, choices)
    refused = [
        workload
        for workload, anchor in choices.anchors.items()
        if anchor.columns or target != "host"
    ]
    assert len(refused) == (1 if target == "host" else 3)
    configs = {workload: {"rows": 1, "vectors": 5} for workload in refused}
    again = lowered(model, machine, Choices(configs))
    assert tvm_ffi.structural_equal(by_default.module, again.module, map_free_vars=True)


def bare(function: Any) -> Any:
    return function.without_attr("global_symbol") if "global_symbol" in function.attrs else function
