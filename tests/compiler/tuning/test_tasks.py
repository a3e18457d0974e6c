"""What there is to tune in a model, and the kernels that candidates are compared with."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import onnx
import pytest
import tvm

from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.optimise import optimise
from autoglm_tvm.compiler.passes.wide_indices import wide_indices
from autoglm_tvm.compiler.read import read
from autoglm_tvm.compiler.tuning.candidate import Candidate, candidate_of, constants_of
from autoglm_tvm.compiler.tuning.inputs import check_inputs
from autoglm_tvm.compiler.tuning.splice import splice
from autoglm_tvm.compiler.tuning.tasks import TuningTask, tuning_tasks
from autoglm_tvm.schedules.choices import Choices
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.targets import resolve_target
from tests.compiler.onnx_text import model_from_text, random_array


def tasks_of(model: onnx.ModelProto, target: str = "host", threads: int = 2) -> list[TuningTask]:
    machine, choices = replace(resolve_target(target), threads=threads), Choices()
    with tvm.target.Target(machine.to_tvm_dict()), wide_indices():
        found = optimise(import_onnx(read(model)), machine, choices)
        return tuning_tasks(found, choices, machine_of(machine))


@pytest.mark.parametrize("threads", [1, 4])
def test_layers_of_any_size_have_a_space(threads: int) -> None:
    """Its default is a member: rows that are few, panels that are one, odd numbers of channels."""
    sizes = list(product((1, 7, 128), (3, 64), (2, 10, 17, 100)))
    weights = {f"w{at}": random_array(k, n) for at, (_, k, n) in enumerate(sizes)}
    body = " ".join(f"y{at} = MatMul(x{at}, w{at})" for at in range(len(sizes)))
    inputs = ", ".join(f"float[{m},{k}] x{at}" for at, (m, k, _) in enumerate(sizes))
    outputs = ", ".join(f"float[a,b] y{at}" for at in range(len(sizes)))
    model = model_from_text(f"g ({inputs}) => ({outputs}) {{ {body} }}", weights)
    tasks = tasks_of(model, "android-arm64", threads)
    assert len([task for task in tasks if task.space is not None]) == len(sizes)
    for task in tasks:
        assert task.space is None or task.space.default in task.space


def test_a_kernel_is_compared_with_the_one_of_the_same_weight() -> None:
    """The most frequent kernel is not the first of its workload: their weights differ."""
    body = """
        a = MatMul(x, w0) b = Relu(a)
        c = MatMul(b, w1) d = Tanh(c)
        e = MatMul(d, w2) y = Tanh(e)
    """
    weights = {f"w{at}": random_array(64, 64) for at in range(3)}
    model = model_from_text(f"g (float[64,64] x) => (float[a,b] y) {{ {body} }}", weights)
    (task,) = tasks_of(model)
    assert (task.calls, "tanh" in task.kernel) == (3, True)
    assert task.anchor is not None
    with tvm.target.Target(resolve_target("host").to_tvm_dict()), wide_indices():
        _, packed = splice(task.function, task.anchor, {})
        assert packed is not None
        np.testing.assert_array_equal(packed[1], task.constants[packed[0]])
        candidate = candidate_of(task, {"rows": 2, "vectors": 1})
        (other,) = constants_of(candidate).values()
    assert other.shape == candidate.arguments[packed[0]].shape != packed[1].shape
    assert np.isclose(other.sum(), packed[1].sum(), rtol=1e-4)


def test_quantized_inputs_have_all_values_and_indices_few() -> None:
    model = model_from_text(
        "g (float[64,64] x) => (float[a,b] y) { m = MatMul(x, w) y = Relu(m) }",
        {"w": random_array(64, 64)},
    )
    (task,) = tasks_of(model)
    kinds = [replace(task.arguments[0], dtype=dtype) for dtype in ("int8", "uint8", "int32")]
    plain = replace(task, anchor=None, constants={}, arguments=(*kinds, task.arguments[-1]))
    candidate = Candidate(plain, {}, task.function, plain.arguments)
    signed, unsigned, index = check_inputs(candidate, 0)
    assert (signed.min(), signed.max()) == (-128, 127)
    assert (unsigned.min(), unsigned.max()) == (0, 255)
    assert 0 <= index.min() <= index.max() <= 3
    assert [array.dtype for array in (signed, unsigned, index)] == ["int8", "uint8", "int32"]
