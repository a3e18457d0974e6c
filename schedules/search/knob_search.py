"""The search of one task over knobs: an evolution that a learnt cost model guides.

The loop is that of Chen et al., "Learning to Optimize Tensor Programs" (NeurIPS 2018): what was
measured trains a model, the fittest by the model are measured next, and a share of others keeps the
model honest and the batch diverse.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random

from autoglm_tvm.schedules.search.cost_model import WORST, CostModel, Features
from autoglm_tvm.schedules.search.evolution import fittest
from autoglm_tvm.schedules.search.space import Config, Key, Space

# Shares of a batch that the model does not choose: random ones, and mutations of the best measured
# ones. By experiment the latter matter: they leave the optima that a model has settled in.
RANDOM = 0.1
MUTATED = 0.3
# Best measured ones that are mutated, and that an evolution starts from.
MUTATED_ELITES = 4
ELITES = 48
# Candidates that are drawn to choose the most distant ones of.
_DRAWN = 128
# Draws for each place in a batch, before a space counts as almost spent.
_DRAWS = 8
# Latest predictions that say how wrong the model is (log seconds), how few say nothing, and what is
# assumed then.
_ERRORS = 64
_FEW_ERRORS = 8
_UNKNOWN_ERROR = 0.2
# Even a perfect model predicts measurements, which are not.
_LEAST_ERROR = 0.005
# Candidates kept from an evolution, to say what the next one might find.
_RUNNERS_UP = 64


class KnobSearch:
    """Searches a `Space`; the protocol `Search` says what its members do.

    Parameters
    ----------
    space
        The task's knobs.
    workload
        Numbers that tell this task from others of its family: logs of rows, columns, bytes.
    model
        Shared by all tasks of a family.
    seed
        Of the random choices: the same calls in the same order give the same candidates.
    promising
        Configurations to try first: records of near targets or of other models. What does not fit
        the space is left out.
    """

    def __init__(
        self,
        space: Space,
        workload: Features,
        model: CostModel,
        seed: int,
        promising: Sequence[Config] = (),
    ) -> None:
        self.space = space
        self.curve: list[float] = []
        self._workload = workload
        self._model = model
        self._task = model.add_task()
        self._random = Random(seed)
        fitting = (space.fit(config) for config in promising)
        self._first = [space.default, *(config for config in fitting if config is not None)]
        self._results: dict[Key, tuple[Config, float | None]] = {}
        self._taken: set[Key] = set()
        self._predicted: dict[Key, float] = {}
        self._errors: list[float] = []
        self._runners_up: list[Config] = []
        self._in_order: Iterator[Config] = iter(space)
        self._next_in_order = next(self._in_order, None)

    @property
    def best(self) -> tuple[Config, float] | None:
        """See `Search.best`."""
        return next(iter(self._ranked()), None)

    @property
    def spent(self) -> bool:
        """See `Search.spent`."""
        return self._first_untaken() is None

    def ask(self, count: int) -> list[Config]:
        """See `Search.ask`."""
        batch = _Batch(self.space, self._taken, count)
        batch.add(self._first)
        if self._model.informed:
            self._add_by_model(batch)
        else:
            self._add_by_design(batch)
        while batch.room and (config := self._first_untaken()) is not None:
            batch.add([config])
        return batch.configs

    def tell(self, results: Sequence[tuple[Config, float | None]]) -> None:
        """See `Search.tell`."""
        for told, seconds in results:
            config = self.space.fit(told)
            if config is not None:
                self._take(config, seconds)
        reference = self._reference()
        log_ratios = [
            math.log(seconds / reference) if seconds else WORST
            for _, seconds in self._results.values()
        ]
        for key, log_ratio in zip(self._results, log_ratios, strict=True):
            predicted = self._predicted.pop(key, None)
            if predicted is not None and self._results[key][1]:
                self._errors.append(log_ratio - predicted)
        configs = [config for config, _ in self._results.values()]
        self._model.learn(self._task, [self._features(config) for config in configs], log_ratios)

    def expected_gain(self) -> float:
        """See `Search.expected_gain`.

        The expected improvement (Jones, Schonlau and Welch, 1998) by the most promising candidate
        that the last batch left over, with the error that the model's choices had lately.
        """
        if self.spent:
            return 0.0
        left = [config for config in self._runners_up if self.space.key(config) not in self._taken]
        if self.best is None or not left or not self._model.ready:
            return 1.0
        recent = self._errors[-_ERRORS:]
        error = _UNKNOWN_ERROR
        if len(recent) >= _FEW_ERRORS:
            mean_square = sum(one * one for one in recent) / len(recent)
            error = max(_LEAST_ERROR, math.sqrt(mean_square))
        margin = math.log(self.best[1] / self._reference()) - min(self._rate(left))
        return 1.0 - math.exp(-expected_improvement(margin, error))

    def _take(self, config: Config, seconds: float | None) -> None:
        if seconds is not None and not 0.0 < seconds < math.inf:
            raise ValueError(f"{config} cannot have taken {seconds} seconds")
        key = self.space.key(config)
        self._taken.add(key)
        if key not in self._results:
            self._results[key] = (config, seconds)
            best_before = self.curve[-1] if self.curve else math.inf
            self.curve.append(min(best_before, seconds or math.inf))
        else:
            self._results[key] = (config, seconds)
            self.curve[-1] = self.best[1] if self.best else math.inf

    def _add_by_design(self, batch: _Batch) -> None:
        """Half of the batch next to what is known to work, the other half spread over the space."""
        neighbours = self.space.neighbours(self.best[0] if self.best else self.space.default)
        self._random.shuffle(neighbours)
        batch.add(neighbours, math.ceil(batch.room / 2))
        drawn = [self.space.random(self._random) for _ in range(_DRAWN)]
        while batch.room and (free := [one for one in drawn if batch.is_free(one)]):
            batch.add([max(free, key=batch.distance)])

    def _add_by_model(self, batch: _Batch) -> None:
        """Mutations of the best, a few random ones, and for the rest what the model rates best."""
        best = [config for config, _ in self._ranked()] or self._first
        few, mutate = best[:MUTATED_ELITES], self.space.mutate
        shares = round(MUTATED * batch.room), round(RANDOM * batch.room)
        self._draw(batch, shares[0], lambda rng: mutate(rng.choice(few), rng))
        self._draw(batch, shares[1], self.space.random)
        rated = fittest(self.space, best[:ELITES], self._rate, self._random)
        rated = [(log_ratio, config) for log_ratio, config in rated if batch.is_free(config)]
        chosen, left = rated[: batch.room], rated[batch.room :]
        batch.add([config for _, config in chosen])
        self._predicted.update((self.space.key(config), rating) for rating, config in chosen)
        self._runners_up = [config for _, config in left[:_RUNNERS_UP]]

    def _draw(self, batch: _Batch, count: int, draw: Callable[[Random], Config]) -> None:
        wanted = batch.room - count
        for _ in range(_DRAWS * count):
            if batch.room <= wanted:
                break
            batch.add([draw(self._random)])

    def _first_untaken(self) -> Config | None:
        """The first configuration, in the space's order, that is left."""
        config = self._next_in_order
        while config is not None and self.space.key(config) in self._taken:
            config = next(self._in_order, None)
        self._next_in_order = config
        return config

    def _ranked(self) -> list[tuple[Config, float]]:
        good = [(config, seconds) for config, seconds in self._results.values() if seconds]
        return sorted(good, key=lambda one: one[1])

    def _features(self, config: Config) -> Features:
        return {**self._workload, **self.space.features(config)}

    def _rate(self, configs: Sequence[Config]) -> list[float]:
        return self._model.predict([self._features(config) for config in configs]).tolist()

    def _reference(self) -> float:
        """Seconds of the default; while they are not known, the median of what is."""
        default = self._results.get(self.space.key(self.space.default), (None, None))[1]
        good = [seconds for _, seconds in self._ranked()]
        return default or (good[len(good) // 2] if good else 1.0)


class _Batch:
    """A batch in the making: none of its configurations was taken before."""

    def __init__(self, space: Space, taken: set[Key], count: int) -> None:
        self.configs: list[Config] = []
        self._space = space
        self._taken = taken
        self._count = count

    @property
    def room(self) -> int:
        """How many it still takes."""
        return self._count - len(self.configs)

    def is_free(self, config: Config) -> bool:
        """Whether it was neither tried nor is about to be."""
        return self._space.key(config) not in self._taken

    def add(self, configs: Sequence[Config], most: int | None = None) -> None:
        """Take those that are free, as long as there is room, and not more than `most`."""
        free_after = self.room - most if most is not None else 0
        for config in configs:
            if self.room > free_after and self.is_free(config):
                self._taken.add(self._space.key(config))
                self.configs.append(dict(config))

    def distance(self, config: Config) -> float:
        """How far it is from the nearest one of the batch."""
        return min((self._space.distance(config, one) for one in self.configs), default=math.inf)


def expected_improvement(margin: float, error: float) -> float:
    """Mean of max(0, x), x normal with mean `margin` and standard deviation `error` > 0."""
    z = margin / error
    probability = 0.5 * math.erfc(-z / math.sqrt(2.0))
    density = math.exp(-z * z / 2.0) / math.sqrt(2.0 * math.pi)
    return margin * probability + error * density
