"""The search of one task against synthetic tasks whose optimum is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import cache
from random import Random

import pytest

from autoglm_tvm.schedules.search.cost_model import CostModel, Features
from autoglm_tvm.schedules.search.evolution import fittest
from autoglm_tvm.schedules.search.knob_search import KnobSearch, expected_improvement
from autoglm_tvm.schedules.search.space import Config, Space
from tests.schedules.search.synthetic import NoisyDevice, SyntheticTask

CONVOLUTION = SyntheticTask(196, 256, 1024)
PRODUCT = SyntheticTask(128, 1152, 384)
OTHER = SyntheticTask(98, 384, 768)
BATCH = 16
WITHIN = 1.03
LIMIT = 480
SEEDS = range(5)


@cache
def _optimum(task: SyntheticTask) -> float:
    return task.optimum()


def _search(task: SyntheticTask, seed: int = 0, model: CostModel | None = None) -> KnobSearch:
    return KnobSearch(task.space(), task.features(), model or CostModel(), seed)


def _is_good(task: SyntheticTask, config: Config) -> bool:
    seconds = task.seconds(config)
    return seconds is not None and seconds <= WITHIN * _optimum(task)


def _trials_to_good(task: SyntheticTask, seed: int, model: CostModel | None = None) -> int:
    """Trials until the search proposes a configuration within 3 % of the optimum."""
    search, device = _search(task, seed, model), NoisyDevice(task, seed)
    for done in range(0, LIMIT, BATCH):
        configs = search.ask(BATCH)
        good = [at for at, config in enumerate(configs) if _is_good(task, config)]
        if good:
            return done + good[0] + 1
        search.tell(device.measure(configs))
    return LIMIT


def _random_trials_to_good(task: SyntheticTask, seed: int) -> int:
    configs = list(task.space())
    Random(seed).shuffle(configs)
    return next(at + 1 for at, config in enumerate(configs) if _is_good(task, config))


@pytest.mark.parametrize("task", [CONVOLUTION, PRODUCT], ids=["convolution", "product"])
def test_it_is_far_ahead_of_random_search(task: SyntheticTask) -> None:
    guided = statistics.median(_trials_to_good(task, seed) for seed in SEEDS)
    random = statistics.median(_random_trials_to_good(task, seed) for seed in SEEDS)
    assert guided <= 160
    assert 10 * guided < random


@pytest.mark.slow
def test_a_model_that_knows_other_tasks_speeds_up_the_next() -> None:
    alone, shared = [], []
    for seed in SEEDS:
        model = CostModel()
        for task in (CONVOLUTION, PRODUCT):
            search, device = _search(task, seed, model), NoisyDevice(task, seed)
            for _ in range(6):
                search.tell(device.measure(search.ask(BATCH)))
        alone.append(_trials_to_good(OTHER, seed))
        shared.append(_trials_to_good(OTHER, seed, model))
    assert statistics.median(shared) < 0.6 * statistics.median(alone)


def test_a_good_prior_helps_before_there_is_anything_to_learn_from() -> None:
    task, space = CONVOLUTION, CONVOLUTION.space()

    def know(features: Features) -> float:
        tile = abs(features["rows"] - 4) + abs(features["vectors"] - 4)
        return 0.3 * tile - features["threads"]

    def median_of_first(model: CostModel) -> float:
        configs = KnobSearch(space, task.features(), model, 0).ask(32)
        return statistics.median(task.seconds(config) or math.inf for config in configs)

    assert median_of_first(CostModel(know)) < 0.8 * median_of_first(CostModel())


def test_the_first_batch_is_the_default_then_promising_then_neighbours_and_distant_ones() -> None:
    space = PRODUCT.space()
    promising: list[Config] = [{"algorithm": "F2"}, {"rows": 99}, {"rows": 6, "vectors": 5}]
    search = KnobSearch(space, {}, CostModel(), 0, promising)
    first, second, third, *others = search.ask(32)
    assert first == space.default
    assert second == {**space.default, "algorithm": "F2"}
    assert third == {**space.default, "rows": 6, "vectors": 5}
    neighbours = [one for one in others if one in space.neighbours(space.default)]
    distant = [one for one in others if one not in space.neighbours(space.default)]
    assert len(neighbours) == 15
    assert len(distant) == 14
    assert min(space.distance(space.default, one) for one in distant) > 1.5


def test_it_never_repeats_and_repeats_itself_with_the_same_seed() -> None:
    def run(seed: int) -> list[Config]:
        search, device = _search(PRODUCT, seed), NoisyDevice(PRODUCT, seed)
        asked: list[Config] = []
        for _ in range(8):
            # The second of two batches is asked for before the first is told.
            early, late = search.ask(BATCH), search.ask(BATCH)
            asked += early + late
            search.tell(device.measure(early))
            search.tell(device.measure(late))
        return asked

    asked, space = run(seed=1), PRODUCT.space()
    assert len(asked) == 256
    assert len({space.key(config) for config in asked}) == 256
    assert all(config in space for config in asked)
    assert run(seed=1) == asked
    assert run(seed=2) != asked


def test_a_resumed_search_goes_on_without_repeating() -> None:
    device = NoisyDevice(PRODUCT, 0)
    old = _search(PRODUCT)
    results = [one for _ in range(6) for one in device.measure(old.ask(BATCH))]
    old.tell(results)
    resumed = _search(PRODUCT, seed=7)
    resumed.tell([*results, ({"rows": 99}, 1e-9), ({"trace": "[]"}, 1e-9)])
    assert resumed.curve == old.curve
    assert resumed.best == old.best
    configs, space = resumed.ask(64), PRODUCT.space()
    tried = {space.key(config) for config, _ in results}
    assert len(configs) == 64
    assert not tried & {space.key(config) for config in configs}
    # It goes on from what was learnt: what the model chose is close to the best or better.
    assert resumed.best is not None
    good = [config for config in configs if (PRODUCT.seconds(config) or 1) < 1.1 * resumed.best[1]]
    assert len(good) > 16


def test_a_small_space_is_tried_whole_and_is_then_spent() -> None:
    space = Space(
        {"a": range(6), "b": ("x", "y", "z")}, {"a": 0, "b": "x"}, lambda config: config["a"] != 3
    )
    search = KnobSearch(space, {}, CostModel(), 0)
    asked: list[Config] = []
    while configs := search.ask(4):
        assert not search.spent or len(asked) + len(configs) == 15
        search.tell([(config, 1.0 + int(config["a"])) for config in configs])
        asked += configs
    assert len(asked) == 15
    assert {space.key(config) for config in asked} == {space.key(config) for config in space}
    assert search.spent
    assert search.expected_gain() == 0
    assert search.ask(4) == []


def test_a_space_without_knobs_has_one_configuration() -> None:
    search = KnobSearch(Space({}, {}), {}, CostModel(), 0)
    assert not search.spent
    assert search.ask(4) == [{}]
    assert search.spent


def test_the_last_word_on_a_configuration_counts_and_is_no_new_trial() -> None:
    space = PRODUCT.space()
    search = KnobSearch(space, {}, CostModel(), 0)
    other: Config = {**space.default, "rows": 5}
    search.tell([(space.default, None)])
    assert search.best is None
    search.tell([(space.default, 2.0), (other, 1.0)])
    assert search.best == (other, 1.0)
    assert search.curve == [2.0, 1.0]
    search.tell([(other, None)])
    assert search.best == (space.default, 2.0)
    assert search.curve == [2.0, 2.0]
    search.tell([({**space.default, "rows": 6}, 1.5)])
    assert search.curve == [2.0, 2.0, 1.5]


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_seconds_that_are_none_are_refused(seconds: float) -> None:
    search = _search(PRODUCT)
    with pytest.raises(ValueError, match="seconds"):
        search.tell([(search.space.default, seconds)])


def test_a_task_whose_every_candidate_fails_goes_on_asking() -> None:
    search = _search(PRODUCT)
    for _ in range(4):
        configs = search.ask(BATCH)
        assert len(configs) == BATCH
        search.tell([(config, None) for config in configs])
    assert search.best is None
    assert search.curve == [math.inf] * 64
    assert search.expected_gain() == 1


def test_failing_regions_are_left() -> None:
    search, device = _search(CONVOLUTION), NoisyDevice(CONVOLUTION, 0)
    failures: list[int] = []
    for _ in range(16):
        results = device.measure(search.ask(BATCH))
        search.tell(results)
        failures.append(sum(seconds is None for _, seconds in results))
    assert sum(failures[:2]) > 0
    assert sum(failures[-4:]) <= 4


def test_the_expected_gain_falls_as_the_search_comes_to_its_end() -> None:
    search, device = _search(PRODUCT), NoisyDevice(PRODUCT, 0)
    assert search.expected_gain() == 1
    gains = []
    for _ in range(16):
        search.tell(device.measure(search.ask(BATCH)))
        gains.append(search.expected_gain())
    assert statistics.median(gains[-4:]) < 0.02
    assert statistics.median(gains[-4:]) < 0.5 * statistics.median(gains[1:5])


def test_expected_improvement_is_the_mean_of_the_positive_part() -> None:
    rng = Random(0)
    drawn = [max(0.0, rng.gauss(-0.05, 0.1)) for _ in range(100_000)]
    assert expected_improvement(-0.05, 0.1) == pytest.approx(statistics.mean(drawn), rel=0.03)
    assert expected_improvement(0.3, 1e-6) == pytest.approx(0.3)
    assert expected_improvement(-0.3, 1e-6) == 0


def test_evolution_finds_what_the_model_rates_best_in_a_large_space() -> None:
    knobs = {name: range(16) for name in "abcd"}
    space = Space(knobs, dict.fromkeys("abcd", 0))

    def rate(configs: Sequence[Config]) -> list[float]:
        return [0.1 * sum((int(value) - 7) ** 2 for value in one.values()) for one in configs]

    rated = fittest(space, [space.default], rate, Random(0))
    assert len(rated) < space.size / 20
    assert [rating for rating, _ in rated] == sorted(rating for rating, _ in rated)
    assert len({space.key(config) for _, config in rated}) == len(rated)
    assert rated[0][0] <= 0.2
