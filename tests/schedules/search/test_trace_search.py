"""Traces behind the protocol that the budget knows."""

from __future__ import annotations

import math

import pytest

from autoglm_tvm.schedules.search.trace_search import TraceSearch
from tests.schedules.networks import network
from tests.schedules.search.candidates import kernels_of


@pytest.fixture
def search() -> TraceSearch:
    model = network("float[3,17,50] x", "y = Softmax <axis=-1> (x)", "float[3,17,50]", {})
    kernels = kernels_of(model)
    return TraceSearch(kernels.only(), kernels.target, seed=0, max_trials=8)


def test_a_refuted_best_is_none_and_strangers_are_left_out(search: TraceSearch) -> None:
    first, second = search.ask(2)
    search.tell([(first, 1e-3), (second, 2e-3)])
    assert list(search.curve) == [1e-3, 1e-3]
    # Found wrong afterwards: no new trial, and no longer the best.
    search.tell([(first, None)])
    assert list(search.curve) == [1e-3, 2e-3]
    assert search.best == (second, 2e-3)
    # Of the workload's other kernel, and of another schedule space.
    search.tell([({**first, "workload": "another"}, 1e-9), ({"rows": 4}, 1e-9)])
    assert search.best == (second, 2e-3)
    assert len(search.curve) == 2
    search.tell([(second, None)])
    assert (search.best, search.curve[-1]) == (None, math.inf)
