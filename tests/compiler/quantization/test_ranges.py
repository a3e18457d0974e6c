"""Ranges: what each method chooses, of values whose right range is known."""

from __future__ import annotations

import numpy as np
import pytest

from autoglm_tvm.compiler.quantization import ranges as ranges_module
from autoglm_tvm.compiler.quantization.calibration_data import calibration_data
from autoglm_tvm.compiler.quantization.qdq import activation_quantization
from autoglm_tvm.compiler.quantization.ranges import Ranges, find_ranges
from autoglm_tvm.compiler.quantization.recipe import METHODS, Int8Settings
from autoglm_tvm.compiler.quantization.thresholds import BINS, best_range
from autoglm_tvm.compiler.read import read
from tests.compiler.onnx_text import model_from_text

TEXT = """
net (float[n] x) => (float[n] y, float[n] r) {
    y = Tanh (x)
    r = Relu (x)
}
"""


def ranges_of(runs: list[np.ndarray], method: str, **settings: float) -> Ranges:
    model = read(model_from_text(TEXT))
    data = calibration_data([{"x": run.astype(np.float32)} for run in runs], model.inputs)
    how = Int8Settings(method=method, **settings)  # type: ignore[arg-type]
    return find_ranges(model.proto, data, ["x", "r"], how)


def noise(values: np.ndarray, values_range: tuple[float, float]) -> float:
    """Mean squared error of storing the values in 8 bits."""
    how = activation_quantization(values_range, Int8Settings())
    stored = np.clip(np.round(values / how.scale) + how.zero_point, 0, 255)
    return float((((stored - how.zero_point) * how.scale - values) ** 2).mean())


def outliers(count: int = 20000) -> np.ndarray:
    """Normal numbers, and a few that are a hundred times as large."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal(count)
    values[:2] = (100.0, -60.0)
    return values


def test_minmax_is_exact() -> None:
    found = ranges_of([np.array([1.0, -2.0]), np.array([0.5, 7.0, 3.0])], "minmax")
    assert found.chosen == {"x": (-2.0, 7.0), "r": (0.0, 7.0)}
    assert found.seen["x"] == (-2.0, 7.0)
    assert found.seen["y"] == pytest.approx(tuple(np.tanh([-2.0, 7.0])))
    assert found.magnitudes["x"] == pytest.approx((1.5 + 3.5) / 2)


def test_moving_average_moves_by_a_tenth() -> None:
    runs = [np.array([-1.0, 1.0]), np.array([-3.0, 2.0]), np.array([-1.0, 11.0])]
    low = -1.0 + 0.1 * -2.0
    high = 1.0 + 0.1 * 1.0
    expected = (low + 0.1 * (-1.0 - low), high + 0.1 * (11.0 - high))
    found = ranges_of(runs, "moving-average")
    assert found.chosen["x"] == pytest.approx(expected, rel=1e-6)
    assert found.seen["x"] == (-3.0, 11.0)


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9])
def test_percentile_keeps_that_part(percentile: float) -> None:
    values = np.random.default_rng(1).standard_normal(50000)
    low, high = ranges_of([values], "percentile", percentile=percentile).chosen["x"]
    inside = ((values >= low) & (values <= high)).mean() * 100
    assert inside == pytest.approx(percentile, abs=0.3)
    assert low == pytest.approx(-high, rel=0.2)
    # Of values that are all positive, only the upper end is cut.
    low, high = ranges_of([np.abs(values)], "percentile", percentile=percentile).chosen["x"]
    assert low == 0.0
    assert (np.abs(values) <= high).mean() * 100 == pytest.approx(percentile, abs=0.3)


@pytest.mark.parametrize("method", ["percentile", "entropy", "mse"])
def test_rare_outliers_are_given_up(method: str) -> None:
    values = outliers()
    found = ranges_of([values[:10000], values[10000:]], method, percentile=99.9)
    low, high = found.chosen["x"]
    assert found.seen["x"] == pytest.approx((-60.0, 100.0))
    if method == "mse":
        # Two outliers cost more than all the others gain: their squares count.
        assert noise(values, (low, high)) <= noise(values, (-60.0, 100.0))
    else:
        assert high < 20
        assert noise(values[2:], (low, high)) < noise(values[2:], (-60.0, 100.0)) / 10


def test_mse_is_the_best_of_all_methods() -> None:
    rng = np.random.default_rng(2)
    for values in (rng.laplace(size=20000), rng.standard_normal(20000), rng.exponential(size=9999)):
        errors = {
            method: noise(values, ranges_of([values], method).chosen["x"]) for method in METHODS
        }
        assert errors["mse"] <= min(errors.values()) * 1.02, errors


def test_entropy_keeps_what_is_dense_to_its_end() -> None:
    values = np.random.default_rng(3).uniform(0, 4, 20000)
    low, high = ranges_of([values], "entropy").chosen["x"]
    assert low == 0.0
    assert high > 3.8


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_zero_and_are_inside_what_was_seen(method: str) -> None:
    for values in (np.zeros(4), np.full(9, 3.0), np.array([-5.0, -1.0]), outliers(99)):
        found = ranges_of([values], method)
        low, high = found.chosen["x"]
        how = activation_quantization((low, high), Int8Settings())
        assert how.scale > 0
        assert 0 <= how.zero_point <= 255
        assert min(values.min(), 0) - 1e-6 <= min(low, 0.0)
        assert max(high, 0.0) <= max(values.max(), 0) + 1e-6


def test_large_tensors_are_counted_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    values = outliers(2000)
    whole = ranges_of([values, values * 2], "entropy")
    monkeypatch.setattr(ranges_module, "GROUP_BYTES", 4 * 2000)
    told: list[str] = []
    model = read(model_from_text(TEXT))
    runs = [{"x": run.astype(np.float32)} for run in (values, values * 2)]
    data = calibration_data(runs, model.inputs)
    how = Int8Settings(method="entropy")
    parts = find_ranges(model.proto, data, ["x", "r"], how, told.append)
    assert parts == whole
    assert any("part 2 of 2" in text for text in told)


def test_an_empty_histogram_leaves_the_range() -> None:
    seen = (-1.0, 2.0)
    assert best_range(np.zeros(BINS), seen, Int8Settings(method="mse")) == seen


@pytest.mark.parametrize(
    ("values", "activation", "symmetric", "scale", "zero_point"),
    [
        ((0.0, 255.0), "uint8", False, 1.0, 0),
        ((-128.0, 127.0), "uint8", False, 1.0, 128),
        ((-128.0, 127.0), "int8", False, 1.0, 0),
        ((0.0, 255.0), "int8", False, 1.0, -128),
        ((5.0, 255.0), "uint8", False, 1.0, 0),
        ((-255.0, -5.0), "uint8", False, 1.0, 255),
        ((-127.0, 10.0), "int8", True, 1.0, 0),
        ((-127.0, 10.0), "uint8", True, 1.0, 128),
        ((0.0, 0.0), "uint8", False, 1.0, 0),
    ],
)
def test_scale_and_zero_point(
    values: tuple[float, float], activation: str, symmetric: bool, scale: float, zero_point: int
) -> None:
    how = Int8Settings(activation=activation, symmetric_activations=symmetric)
    found = activation_quantization(values, how)
    assert found.scale == pytest.approx(scale)
    assert found.zero_point == zero_point
