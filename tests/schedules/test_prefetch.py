"""Prefetches of the next panel: where they are asked for, each line of a panel once at least."""

from __future__ import annotations

import operator
import re
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.schedules.default import schedule_kernel
from autoglm_tvm.schedules.machine import machine_of
from autoglm_tvm.schedules.operators.matmul import pack_panels, packed_matmul
from autoglm_tvm.schedules.tiles import choose_tile
from autoglm_tvm.targets import resolve_target
from tests.schedules.kernels import build_kernel, call

ROWS, REDUCED, COLUMNS = 50, 36, 200


def kernel(target: str, config: dict[str, Any]) -> tuple[Any, int]:
    """A product of 50 x 36 with 36 x 200, and how many columns a panel has."""
    import tvm
    from tvm import te

    resolved = resolve_target(target, threads=2)
    machine = machine_of(resolved)
    tile = choose_tile(ROWS, COLUMNS, REDUCED, machine)
    panels = -(-COLUMNS // tile.columns)
    data = te.placeholder((1, ROWS, REDUCED), "float32", "data")
    weight = te.placeholder((panels, REDUCED, tile.columns), "float32", "weight")
    result = packed_matmul(data, weight, COLUMNS, tile, "float32")
    function: Any = te.create_prim_func([data, weight, result])
    with tvm.target.Target(resolved.to_tvm_dict()):
        return schedule_kernel(function, machine, config=config)[0], tile.columns


@pytest.mark.parametrize("share", ["rows", "panels", "both"])
def test_results_are_bit_equal_with_and_without(share: str) -> None:
    rng = np.random.default_rng(0)
    data = rng.standard_normal((1, ROWS, REDUCED)).astype(np.float32)
    weight = rng.standard_normal((REDUCED, COLUMNS)).astype(np.float32)
    results = []
    for prefetch in (0, 1):
        function, columns = kernel("host", {"prefetch": prefetch, "share": share})
        empty = np.zeros((1, ROWS, COLUMNS), np.float32)
        results.append(call(build_kernel(function), data, pack_panels(weight, columns), empty))
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0][0], data[0] @ weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("target", "instruction"),
    [("host", r"\bprefetcht1\b"), ("android-arm64", r"\bprfm\s+pldl2keep")],
)
def test_the_instruction_is_there_only_where_it_is_asked_for(target: str, instruction: str) -> None:
    for prefetch in (0, 1):
        function, _ = kernel(target, {"prefetch": prefetch})
        assembly = build_kernel(function, target).inspect_source("s")
        assert bool(re.search(instruction, assembly)) == bool(prefetch)


@pytest.mark.parametrize("share", ["rows", "panels", "both"])
def test_all_of_the_next_panel_is_fetched(share: str) -> None:
    """Runs the lowered loops in Python: the lines that are asked for while one panel is read."""
    import tvm
    from tvm import tirx

    from autoglm_tvm.schedules.lowering.pipeline import _blocks_to_loops

    function, columns = kernel("host", {"prefetch": 1, "share": share, "pieces": 2})
    target = tvm.target.Target(resolve_target("host").to_tvm_dict())
    module = tvm.IRModule({"main": function.with_attr("global_symbol", "main")})
    lowered: Any = tvm.transform.Sequential(
        [tirx.transform.BindTarget(target), *_blocks_to_loops()]
    )(module)["main"]
    touched = addresses(lowered.body, {})
    panel = REDUCED * columns
    lines = {address // 16 for address in touched}
    second = {line for line in lines if panel <= line * 16 < 2 * panel}
    assert second == set(range(-(-panel // 16), 2 * panel // 16))


def addresses(node: Any, values: dict[Any, int]) -> set[int]:
    """Elements of the weight whose lines are prefetched, in all iterations."""
    from tvm import tirx

    if isinstance(node, tirx.SeqStmt):
        return set().union(*(addresses(part, values) for part in node.seq))
    if isinstance(node, tirx.For):
        found: set[int] = set()
        extent: Any = node.extent
        for at in range(int(extent)):
            found |= addresses(node.body, {**values, node.loop_var: at})
        return found
    if isinstance(node, tirx.Evaluate) and "autoglm_prefetch" in str(node):
        call: Any = node.value
        load = call.args[0].args[0]
        return {evaluate(load.indices[0], values)}
    body = getattr(node, "body", None)
    return addresses(body, values) if body is not None else set()


def evaluate(index: Any, values: dict[Any, int]) -> int:
    from tvm import tirx

    if isinstance(index, tirx.IntImm):
        return int(index)
    if isinstance(index, tirx.Cast):
        return evaluate(index.value, values)
    if index in values:
        return values[index]
    first, second = evaluate(index.a, values), evaluate(index.b, values)
    compute = {
        tirx.Add: operator.add,
        tirx.Sub: operator.sub,
        tirx.Mul: operator.mul,
        tirx.FloorDiv: operator.floordiv,
        tirx.FloorMod: operator.mod,
    }
    return compute[type(index)](first, second)
