"""Candidates of MetaSchedule: right whatever was sampled, the same anywhere, none twice."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.reference import run_reference
from autoglm_tvm.schedules.search.metaschedule import MetaScheduleSearch, apply_trace
from autoglm_tvm.targets import resolve_target
from tests.schedules.kernels import build_kernel
from tests.schedules.networks import network, random_inputs
from tests.schedules.search.candidates import Kernels, kernels_of, results

NORM = {"s": (37,), "b": (37,)}
CASES: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "softmax": ("float[3,17,50] x", "y = Softmax <axis=-1> (x)", "float[3,17,50]", {}),
    "softmax of long rows": ("float[40,777] x", "y = Softmax (x)", "float[40,777]", {}),
    "softmax of channels": (
        "float[2,21,9,11] x",
        "y = Softmax <axis=1> (x)",
        "float[2,21,9,11]",
        {},
    ),
    "layer norm": (
        "float[5,11,37] x",
        "y = LayerNormalization <axis=-1> (x, s, b)",
        "float[5,11,37]",
        NORM,
    ),
    "gelu": (
        "float[33,64] x",
        "a = Div (x, r) e = Erf (a) o = Add (e, one) y = Mul (x, o)",
        "float[33,64]",
        {"r": 2**0.5, "one": 1.0},
    ),
    "prime": ("float[7,13,31] x", "y = Tanh (x)", "float[7,13,31]", {}),
    "bytes": ("int8[64,96] x", "y = Transpose <perm=[1,0]> (x)", "int8[96,64]", {}),
    "transpose": (
        "float[1,19,7,9] x",
        "y = Transpose <perm=[0,2,3,1]> (x)",
        "float[1,7,9,19]",
        {},
    ),
    "max pool of channels last": (
        "float[1,3,17,19] x",
        "c = Conv <kernel_shape=[1,1]> (x, w) y = MaxPool <kernel_shape=[3,3], strides=[2,2],"
        " pads=[1,1,1,1]> (c)",
        "float[1,20,9,10]",
        {"w": (20, 3, 1, 1)},
    ),
    "max pool": (
        "float[1,24,17,19] x",
        "y = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (x)",
        "float[1,24,9,10]",
        {},
    ),
    "depthwise": (
        "float[1,24,15,17] x",
        "c = Conv <group=24, kernel_shape=[3,3], pads=[1,1,1,1]> (x, w, b) y = Relu (c)",
        "float[1,24,15,17]",
        {"w": (24, 1, 3, 3), "b": (24,)},
    ),
    "global average": (
        "float[1,20,45,47] x",
        "y = GlobalAveragePool (x)",
        "float[1,20,1,1]",
        {},
    ),
    "sum of columns": ("float[3000,48] x", "y = ReduceSum (x, a)", "float[1,48]", {"a": [0]}),
    "arg max": ("float[9,50] x", "y = ArgMax <axis=1> (x)", "int64[9,1]", {}),
}


def kernels(case: str, threads: int = 8) -> Kernels:
    declaration, body, output, weights = CASES[case]
    return kernels_of(network(declaration, body, output, weights), threads=threads)


def compare(case: str, count: int) -> None:
    declaration, body, output, weights = CASES[case]
    model = network(declaration, body, output, weights)
    inputs = random_inputs(model)
    expected = run_reference(model, inputs)["y"]
    naive, *tuned = results(kernels_of(model), list(inputs.values()), count)
    np.testing.assert_allclose(naive, expected, rtol=1e-4, atol=1e-4)
    scale = 2e-6 * max(1.0, float(np.abs(expected).max()))
    for result in tuned:
        np.testing.assert_allclose(result, expected, rtol=2e-6, atol=scale)


@pytest.mark.parametrize("case", ["softmax", "gelu", "transpose", "depthwise", "global average"])
def test_candidates_are_right(case: str) -> None:
    compare(case, count=2)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_many_candidates_are_right(case: str) -> None:
    compare(case, count=12)


def test_extremes_and_nan_stay() -> None:
    """A maximum begins at minus infinity, and what is not a number stays."""
    model = network("float[4,40] x", "y = ReduceMax <keepdims=1> (x, a)", "float[4,1]", {"a": [1]})
    x = np.full((4, 40), -np.inf, np.float32)
    x[1, 5], x[2, 7] = 3.0, np.nan
    naive, *tuned = results(kernels_of(model), [x], 4)
    assert naive[0, 0] == -np.inf
    assert naive[1, 0] == 3.0
    for result in tuned:
        np.testing.assert_array_equal(result, naive)


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="TVM's pool has no more threads than cores")
def test_threads_do_not_change_bits() -> None:
    code = (
        "from tests.schedules.search.test_metaschedule import digests\n"
        "import tvm\n"
        "print(tvm.get_global_func('runtime.NumThreads')(), digests('global average'))"
    )
    printed = []
    for threads in ("1", "2"):
        environment = os.environ | {"TVM_NUM_THREADS": threads}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=environment, check=True, timeout=300, capture_output=True, text=True
        )
        count, _, bits = done.stdout.partition(" ")
        assert count == threads
        printed.append(bits)
    assert printed[0] == printed[1]


def digests(case: str) -> list[str]:
    """Hashes of what candidates compute that run on all threads."""
    declaration, body, output, weights = CASES[case]
    inputs = list(random_inputs(network(declaration, body, output, weights)).values())
    found = kernels(case)
    (name,) = found.functions
    configs = [c for c in found.search().ask(16) if "Parallel" in json.dumps(c)][:2]
    assert configs
    compiled = (
        found.scheduled({name: apply_trace(found.only(), c, found.target)}) for c in configs
    )
    return [hashlib.sha256(one.run(*inputs).tobytes()).hexdigest() for one in compiled]


def test_one_thread_takes_no_thread_pool() -> None:
    (config,) = kernels("sum of columns", threads=1).search().ask(1)
    assert "Parallel" not in json.dumps(config)
    asked = kernels("sum of columns", threads=8).search().ask(8)
    assert "Parallel" in json.dumps(asked)


def test_a_trace_makes_the_same_kernel_again() -> None:
    import tvm_ffi

    found = kernels("sum of columns")
    for config in found.search().ask(3):
        read = json.loads(json.dumps(config))
        first, second = (apply_trace(found.only(), c, found.target) for c in (config, read))
        assert tvm_ffi.structural_equal(first, second)
        assert not tvm_ffi.structural_equal(first, found.only())
        content: Any = first
        assert dict(content.attrs.items()) == dict(found.only().attrs.items())


def test_a_trace_fits_the_same_kernel_of_another_model() -> None:
    """The importer names blocks after tensors."""
    body = "first = Exp (x) y = ReduceSum (first, a)"
    other = body.replace("first", "other")
    made = [network("float[9,64] x", text, "float[9,1]", {"a": [1]}) for text in (body, other)]
    mine, theirs = (kernels_of(model) for model in made)
    (config,) = mine.search().ask(1)
    apply_trace(theirs.only(), config, theirs.target)


def test_a_trace_of_another_kernel_is_refused() -> None:
    longer = kernels_of(network("float[7,13,32] x", "y = Tanh (x)", "float[7,13,32]"))
    (config,) = kernels("prime").search().ask(1)
    with pytest.raises(ValueError, match="the trace is of kernel"):
        apply_trace(longer.only(), config, longer.target)
    with pytest.raises(ValueError, match="the trace is of kernel"):
        longer.search().tell([(config, 1.0)])


@pytest.mark.parametrize(
    "trace",
    [
        None,
        [],
        [[["GetSBlock", [], ["block7", "main"], ["b0"]]], []],
        [[["NoSuchPrimitive", [], [], []]], []],
    ],
)
def test_a_trace_that_does_not_fit_is_refused(trace: Any) -> None:
    found = kernels("prime")
    (config,) = found.search().ask(1)
    with pytest.raises(ValueError, match="the trace does not fit"):
        apply_trace(found.only(), config | {"trace": trace}, found.target)


def test_no_candidate_comes_twice() -> None:
    found = kernels("prime")
    search = found.search()
    asked: list[dict[str, Any]] = []
    while fresh := search.ask(8):
        asked += fresh
        search.tell([(config, 1e-3) for config in fresh])
        assert len(asked) < 500
    assert len(asked) > 3
    scripts = {apply_trace(found.only(), config, found.target).script() for config in asked}
    assert len(scripts) == len(asked)
    assert not search.ask(1)


def test_there_are_no_more_candidates_than_trials() -> None:
    search = kernels("transpose").search(max_trials=5)
    assert [len(search.ask(4)) for _ in range(3)] == [4, 1, 0]


def test_the_seed_decides() -> None:
    found = kernels("transpose")
    np.random.seed(7)
    undisturbed = np.random.random()
    np.random.seed(7)

    def asked(seed: int) -> list[list[dict[str, Any]]]:
        search = found.search(seed=seed)
        rounds = []
        for _ in range(3):
            rounds.append(search.ask(8))
            search.tell([(config, 1e-3 * (1 + at)) for at, config in enumerate(rounds[-1])])
        return rounds

    first = asked(1)
    assert asked(1) == first
    assert asked(2) != first
    assert np.random.random() == undisturbed


def test_the_search_learns() -> None:
    """Told that vectors are fast, it asks for candidates with more of them."""
    body = "y = Transpose <perm=[1,0]> (x)"
    search = kernels_of(network("float[96,160] x", body, "float[160,96]")).search()

    def vectors(configs: list[dict[str, Any]]) -> float:
        return sum("Vectorize" in json.dumps(config) for config in configs) / len(configs)

    first = search.ask(16)
    assert 0 < vectors(first) < 1
    latest = first
    for _ in range(3):
        search.tell([(config, 1e-6 if vectors([config]) else 1e-3) for config in latest])
        latest = search.ask(16)
    assert vectors(latest) > vectors(first)


def test_failures_and_earlier_results_are_taken_into_account() -> None:
    found = kernels("prime")
    earlier = found.search(seed=5).ask(6)
    search = found.search(seed=5)
    search.tell([(config, None if at % 2 else 1e-4) for at, config in enumerate(earlier)])
    search.tell([(config, None) for config in search.ask(2)])
    asked = search.ask(12)
    assert asked
    assert not [config for config in asked if config in earlier]


def test_a_symbolic_size_is_refused() -> None:
    search = kernels_of(network("float[N,8] x", "y = Relu (x)", "float[N,8]")).search()
    assert "symbolic" in search.refused
    assert search.ask(4) == []
    search.tell([])


def test_a_kernel_of_no_element_is_refused() -> None:
    from tvm import te, tirx

    shape = [tirx.IntImm("int64", size) for size in (0, 7)]
    data: Any = te.placeholder(shape, "float32", "data")
    twice: Any = te.compute(shape, lambda i, j: data[i, j] * 2.0, "twice")
    target = resolve_target("host")
    search = MetaScheduleSearch(te.create_prim_func([data, twice]), target, seed=1, max_trials=9)
    assert "nothing" in search.refused


def test_the_phone_gets_narrower_vectors() -> None:
    found = kernels_of(
        network("float[64,96] x", "y = Tanh (x)", "float[64,96]"), target="android-arm64-v8.2"
    )
    (config,) = found.search().ask(1)
    scheduled = apply_trace(found.only(), config, found.target)
    assembly = build_kernel(scheduled, "android-arm64-v8.2").inspect_source("s")
    assert "fmla" in assembly
    host = kernels_of(network("float[64,96] x", "y = Tanh (x)", "float[64,96]"))
    ours = {key: json.dumps(k.search().ask(1)) for key, k in (("arm", found), ("host", host))}
    assert ours["arm"] != ours["host"]


def test_tvms_own_intrinsics_are_not_imported() -> None:
    """That takes 20 to 30 s."""
    code = (
        "import sys\n"
        "from tests.schedules.search.test_metaschedule import kernels\n"
        "search = kernels('prime').search()\n"
        "search.tell([(config, 1e-3) for config in search.ask(4)])\n"
        "assert search.ask(4)\n"
        "assert not [name for name in sys.modules if name.startswith('tvm.s_tir.tensor_intrin')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_a_search_is_for_one_kernel() -> None:
    """Two searches at once do not disturb one another."""
    first, second = kernels("prime").search(), kernels("transpose").search()
    alone = kernels("prime").search()
    configs = first.ask(4)
    second.tell([(config, 1e-3) for config in second.ask(4)])
    assert configs == alone.ask(4)
    for search in (first, alone):
        search.tell([(config, 1e-3) for config in configs])
    assert first.ask(4) == alone.ask(4)
    assert isinstance(first, MetaScheduleSearch)
