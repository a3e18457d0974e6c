"""The cost model on synthetic tasks: order, failures, prior, and what a second task profits."""

from __future__ import annotations

import math
from random import Random

import numpy as np

from autoglm_tvm.schedules.search.cost_model import MIN_SAMPLES, WORST, CostModel, Features
from tests.schedules.search.synthetic import SyntheticTask

FIRST = SyntheticTask(196, 256, 1024)
SECOND = SyntheticTask(98, 384, 768)


def _samples(task: SyntheticTask, count: int, seed: int) -> tuple[list[Features], list[float]]:
    space, rng = task.space(), Random(seed)
    default = task.seconds(space.default)
    assert default is not None
    configs = [space.random(rng) for _ in range(count)]
    seconds = [task.seconds(config) for config in configs]
    rows: list[Features] = [{**task.features(), **space.features(one)} for one in configs]
    return rows, [math.log(one / default) if one else WORST for one in seconds]


def _correlation(predicted: np.ndarray, actual: list[float]) -> float:
    return float(np.corrcoef(predicted, np.minimum(actual, WORST))[0, 1])


def test_it_orders_configurations_that_it_never_saw() -> None:
    model = CostModel()
    model.learn(model.add_task(), *_samples(FIRST, 300, seed=0))
    rows, actual = _samples(FIRST, 300, seed=1)
    assert _correlation(model.predict(rows), actual) > 0.8


def test_a_second_task_profits_from_the_first() -> None:
    model = CostModel()
    model.learn(model.add_task(), *_samples(FIRST, 300, seed=0))
    model.add_task()
    rows, actual = _samples(SECOND, 300, seed=1)
    assert _correlation(model.predict(rows), actual) > 0.6


def test_without_samples_the_prior_is_the_prediction() -> None:
    rows, actual = _samples(FIRST, MIN_SAMPLES, seed=0)
    assert not CostModel().informed
    assert not CostModel().predict(rows).any()
    model = CostModel(prior=lambda features: features["rows"] / 10)
    assert model.informed
    task = model.add_task()
    model.learn(task, rows[:-1], actual[:-1])
    assert not model.ready
    assert model.predict(rows).tolist() == [row["rows"] / 10 for row in rows]
    model.learn(task, rows, actual)
    assert model.ready
    assert model.predict(rows).tolist() != [row["rows"] / 10 for row in rows]


def test_samples_correct_a_wrong_prior() -> None:
    rows, actual = _samples(FIRST, 300, seed=0)
    model = CostModel(prior=lambda features: 2.0 * features["threads"])
    model.learn(model.add_task(), rows, actual)
    fresh, truth = _samples(FIRST, 300, seed=1)
    assert _correlation(model.predict(fresh), truth) > 0.8


def test_failures_are_learnt_as_bad() -> None:
    model = CostModel()
    rows: list[Features] = [{"steps": float(i % 4), "rows": float(i)} for i in range(64)]
    model.learn(model.add_task(), rows, [WORST if row["steps"] == 3 else 0.0 for row in rows])
    failing, working = model.predict([{"steps": 3, "rows": 70.0}, {"steps": 2, "rows": 70.0}])
    assert failing > 0.9 * WORST
    assert working < 0.1 * WORST


def test_learning_replaces_what_the_task_said_before() -> None:
    model = CostModel()
    task = model.add_task()
    rows: list[Features] = [{"steps": float(i)} for i in range(32)]
    model.learn(task, rows, [0.5] * 32)
    assert model.predict(rows[:1])[0] > 0.4
    model.learn(task, rows, [-0.5] * 32)
    assert model.predict(rows[:1])[0] < -0.4


def test_features_may_differ_among_tasks() -> None:
    model = CostModel()
    first: list[Features] = [{"rows": float(i)} for i in range(32)]
    second: list[Features] = [{"rows": float(i), "chunk": 2.0} for i in range(32)]
    model.learn(model.add_task(), first, [0.3] * 32)
    assert model.predict([{"rows": 1.0, "chunk": 2.0}])[0] > 0.2
    model.learn(model.add_task(), second, [-0.3] * 32)
    without, with_chunk = model.predict([first[3], second[3]])
    assert without > 0.2
    assert with_chunk < -0.2
