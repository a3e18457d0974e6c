"""What a result says against itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoglm_tvm.rpc.measure.notes import notes_on
from autoglm_tvm.rpc.measure.result import BenchResult
from autoglm_tvm.rpc.measure.sampling import WarmUp
from autoglm_tvm.rpc.measure.statistics import Sample, summarize
from tests.rpc.measure.results import phone_result


def _good() -> BenchResult:
    samples = tuple(Sample(0.010 + 1e-6 * i) for i in range(200))
    return replace(
        phone_result(), samples=samples, latency=summarize(samples), sustained=None, notes=()
    )


def _with_samples(*samples: Sample) -> BenchResult:
    return replace(_good(), samples=samples, latency=summarize(samples))


def _limited() -> BenchResult:
    good = _good()
    little, big = good.cores.after
    return replace(good, cores=replace(good.cores, after=(little, replace(big, limit_mhz=1400))))


CLEAN, HIT = Sample(0.01), Sample(0.02, True)
CASES = {
    "hot": (_limited(), "the system holds the cores 4-7 at 1400 of 2800 MHz"),
    "cold start": (
        replace(_good(), warm_up=WarmUp(0, 0, False, 0, ())),
        "no warm-up was asked for",
    ),
    "never warm": (
        replace(_good(), warm_up=WarmUp(20.2, 900, False, 20, (1.0, 2.0))),
        "had not become stable after 20 s of warm-up",
    ),
    "disturbed": (_with_samples(*[CLEAN] * 150, *[HIT] * 50), "25% of the runs were interrupted"),
    "all disturbed": (_with_samples(CLEAN, *[HIT] * 199), "nearly every run was interrupted"),
    "spread": (
        _with_samples(*(Sample(0.01 * (1 + i / 200)) for i in range(200))),
        "the middle half of the runs differs by",
    ),
    "few": (_with_samples(*[CLEAN] * 20), "p99 of 20 samples"),
    "throttles": (replace(_good(), sustained=phone_result().sustained), "it throttles: 1.18"),
    "not pinned": (
        replace(_good(), cores=replace(_good().cores, refusal="no")),
        "not pinned to the big cores: no",
    ),
}


def test_a_good_measurement_has_no_notes() -> None:
    assert notes_on(_good(), threads_wanted=4, emulated=False).notes == ()


@pytest.mark.parametrize("case", CASES)
def test_what_is_worth_less_says_so(case: str) -> None:
    result, says = CASES[case]
    (note,) = notes_on(result, threads_wanted=4, emulated=False).notes
    assert says in note


def test_little_cores_that_are_not_used_may_be_slow() -> None:
    limited = _limited()
    cores = replace(limited.cores, pinned="0-3")
    assert notes_on(replace(limited, cores=cores), threads_wanted=4, emulated=False).notes == ()


def test_fewer_threads_and_emulation() -> None:
    first, second = notes_on(_good(), threads_wanted=8, emulated=True).notes
    assert "emulated" in first
    assert second == "4 of 8 threads, as there are no more cores for them"
