"""Conditions that differ from lane to lane: results, and that vectors are left."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.schedules.kernels import build_kernel, call


def lowered(function: Any) -> Any:
    """The kernel as it is just before its loops become vectors."""
    import tvm

    from autoglm_tvm.schedules.lowering import pipeline

    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    for step in (*pipeline._blocks_to_loops(), pipeline.split_vector_tails()):
        module = step(module)
    return module["main"]


def vectors(function: Any) -> tuple[set[int], int]:
    """Extents of the vectorised loops, and how many conditions in them depend on the lane."""
    import tvm_ffi
    from tvm import ir, tirx

    extents: set[int] = set()
    dependent: list[Any] = []

    def visit(loop: Any) -> None:
        if loop.kind != tirx.ForKind.VECTORIZED:
            return
        extents.add(int(loop.extent))
        conditions: list[Any] = []

        def visit_call(call: Any) -> None:
            if getattr(call.op, "name", "") == "prim.if_then_else":
                conditions.append(call.args[0])

        branches = (tirx.IfThenElse, lambda branch: conditions.append(branch.condition))
        tvm_ffi.structural_walk(loop.body, [branches, (ir.Call, visit_call)])
        for condition in conditions:
            variables: list[Any] = []
            tvm_ffi.structural_walk(condition, (tirx.Var, variables.append))
            if any(variable.same_as(loop.loop_var) for variable in variables):
                dependent.append(condition)

    tvm_ffi.structural_walk(lowered(function).body, (tirx.For, visit))
    return extents, len(dependent)


def vectorised(inputs: list[Any], output: Any, lanes: int = 16, inner: int = -1) -> Any:
    """A kernel whose loop `inner` runs in vectors."""
    from tvm import s_tir, te

    schedule: Any = s_tir.Schedule(te.create_prim_func([*inputs, output]))
    loop = schedule.get_loops(schedule.get_sblock(output.op.name))[inner]
    _, lane = schedule.split(loop, [None, lanes])
    schedule.vectorize(lane)
    return schedule.mod["main"]


def copy_kernel(size: int) -> Any:
    from tvm import te

    x: Any = te.placeholder((size,), "float32", "x")
    return vectorised([x], te.compute((size,), lambda i: x[i] + 1.0, "y"))


@pytest.mark.parametrize("size", [1, 2, 5, 15, 16, 17, 31, 33, 100, 1003])
def test_a_tail_is_vectors_of_halves(size: int) -> None:
    x = np.arange(size, dtype=np.float32)
    # Beyond the end nothing may be written.
    y = np.full(size + 16, -1, np.float32)
    kernel = copy_kernel(size)
    np.testing.assert_array_equal(call(build_kernel(kernel), x, y[:size]), x + 1)
    extents, conditions = vectors(kernel)
    assert conditions == 0
    left = size % 16
    assert extents >= {1 << bit for bit in range(1, 4) if left >> bit & 1}


def test_a_symbolic_size_keeps_its_vectors() -> None:
    from tvm import te

    n: Any = te.var("n", "int64")
    x: Any = te.placeholder((n,), "float32", "x")
    kernel = vectorised([x], te.compute((n,), lambda i: x[i] * 2.0, "y"))
    library = build_kernel(kernel)
    for size in (1, 15, 16, 17, 100):
        values = np.arange(size, dtype=np.float32)
        np.testing.assert_array_equal(call(library, values, np.zeros_like(values)), 2 * values)
    assert vectors(kernel) == ({16}, 0)


def concatenation(first: int, second: int) -> tuple[Any, Callable[..., np.ndarray]]:
    from tvm import te, tirx

    x: Any = te.placeholder((3, first), "float32", "x")
    z: Any = te.placeholder((3, second), "float32", "z")
    y = te.compute(
        (3, first + second),
        lambda i, j: tirx.if_then_else(j < first, x[i, j], z[i, j - first]),
        "y",
    )
    return vectorised([x, z], y), lambda a, b: np.concatenate([a, b], 1)


@pytest.mark.parametrize(("first", "second"), [(16, 16), (64, 32), (7, 9), (20, 13), (1, 40)])
def test_a_concatenation_reads_each_side_in_vectors(first: int, second: int) -> None:
    kernel, expected = concatenation(first, second)
    a = np.arange(3 * first, dtype=np.float32).reshape(3, first)
    b = -np.arange(3 * second, dtype=np.float32).reshape(3, second)
    result = call(build_kernel(kernel), a, b, np.zeros((3, first + second), np.float32))
    np.testing.assert_array_equal(result, expected(a, b))
    assert vectors(kernel)[1] == 0


@pytest.mark.parametrize(
    ("size", "before", "after"), [(56, 1, 1), (14, 3, 2), (5, 0, 4), (32, 16, 16)]
)
def test_padding_on_both_sides(size: int, before: int, after: int) -> None:
    from tvm import te, tirx

    x: Any = te.placeholder((2, size), "float32", "x")

    def element(i: Any, j: Any) -> Any:
        inside = tirx.all(j >= before, j < before + size)
        return tirx.if_then_else(inside, x[i, j - before], tirx.const(7.0, "float32"))

    kernel = vectorised([x], te.compute((2, before + size + after), element, "y"))
    a = np.arange(2 * size, dtype=np.float32).reshape(2, size)
    result = call(build_kernel(kernel), a, np.zeros((2, before + size + after), np.float32))
    expected = np.pad(a, ((0, 0), (before, after)), constant_values=7)
    np.testing.assert_array_equal(result, expected)
    assert vectors(kernel)[1] == 0


def test_a_condition_that_is_not_linear_is_left_alone() -> None:
    from tvm import te, tirx

    x: Any = te.placeholder((40,), "float32", "x")
    zero = tirx.const(0.0, "float32")
    y = te.compute((40,), lambda i: tirx.if_then_else(i % 3 == 1, x[i], zero), "y")
    a = np.arange(1, 41, dtype=np.float32)
    result = call(build_kernel(vectorised([x], y, lanes=8)), a, np.zeros_like(a))
    np.testing.assert_array_equal(result, np.where(np.arange(40) % 3 == 1, a, 0))


def test_upstream_takes_conditions_apart() -> None:
    """Fails when TVM keeps such loops vectors itself: then the pass can go."""
    import re

    import tvm

    from autoglm_tvm.targets import resolve_target

    target = tvm.target.Target(resolve_target("android-arm64").to_tvm_dict())
    module = tvm.IRModule({"main": copy_kernel(1003).with_attr("global_symbol", "main")})
    theirs = tvm.tirx.build(module, target=target, pipeline="s_tir").inspect_source("ll")
    ours = build_kernel(copy_kernel(1003), "android-arm64").inspect_source("ll")
    assert re.search(r"fadd <16 x float>", ours)
    assert not re.search(r"fadd <16 x float>", theirs)
