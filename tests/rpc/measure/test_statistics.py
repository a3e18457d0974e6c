"""Summaries of timings, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_tvm.rpc.measure.statistics import (
    Sample,
    median,
    parse_samples,
    percentile,
    summarize,
)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 101])
@pytest.mark.parametrize("percent", [0, 25, 50, 90, 99, 100])
def test_percentiles_are_numpys(count: int, percent: float) -> None:
    values = np.random.default_rng(count).random(count)
    found = percentile(sorted(values), percent)
    assert found == pytest.approx(np.percentile(values, percent), rel=1e-12)
    assert median(list(values)) == pytest.approx(np.median(values), rel=1e-12)


def test_a_summary_is_what_numpy_says_of_the_samples_that_were_not_interrupted() -> None:
    rng = np.random.default_rng(0)
    times = 1 + 0.01 * rng.standard_normal(300)
    hit = rng.random(300) < 0.1
    samples = [Sample(t + 5 * h, bool(h)) for t, h in zip(times, hit, strict=True)]
    found = summarize(samples)
    clean = times[~hit]
    assert found.excluded
    assert (found.count, found.interrupted) == (len(clean), int(hit.sum()))
    assert found.interrupted > 10
    expected = {
        "p50": np.median(clean),
        "p90": np.percentile(clean, 90),
        "p99": np.percentile(clean, 99),
        "mean": clean.mean(),
        "minimum": clean.min(),
        "maximum": clean.max(),
        "iqr": np.percentile(clean, 75) - np.percentile(clean, 25),
        "mad": np.median(np.abs(clean - np.median(clean))),
        "interrupted_p50": np.median(times[hit] + 5),
    }
    for name, value in expected.items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name


def test_outliers_that_nothing_interrupted_are_counted_and_kept() -> None:
    times = [1.0, 1.01, 0.99, 1.02, 0.98] * 10
    found = summarize([Sample(t) for t in [*times, 3.0, 4.0]])
    assert found.outliers == 2
    assert found.count == 52
    assert found.maximum == 4.0
    assert summarize([Sample(1.0)] * 20).outliers == 0


def test_interrupted_samples_count_where_there_are_hardly_others() -> None:
    samples = [Sample(1.0)] * 4 + [Sample(2.0, True)] * 50
    found = summarize(samples)
    assert not found.excluded
    assert (found.count, found.interrupted, found.p50) == (54, 50, 2.0)
    # Five are enough, and so are all that there are.
    assert summarize([*samples, Sample(1.0)]).p50 == 1.0
    assert summarize([Sample(1.0)]).excluded
    assert not summarize([Sample(1.0, True)]).excluded


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        summarize([])


def test_json_is_in_milliseconds() -> None:
    found = summarize([Sample(0.002), Sample(0.004), Sample(0.5, True)]).to_json()
    assert found["p50_ms"] == pytest.approx(4.0)  # of all three
    assert found["interrupted_p50_ms"] == pytest.approx(500)
    assert found["interrupted_excluded"] is False
    assert summarize([Sample(1)]).to_json()["interrupted_p50_ms"] is None


def test_the_devices_bytes() -> None:
    data = np.array([[0.5, 0.0], [0.25, 1.0]], "<f8").tobytes()
    assert parse_samples(data) == [Sample(0.5), Sample(0.25, True)]
    assert parse_samples(b"") == []
