"""Finds the configurations that a cost model rates best, without rating all of a large space.

The evolutionary search of Zheng et al., "Ansor" (OSDI 2020), section 5.1: parents are drawn by
fitness, children are made by mutation and crossover, and the best of all generations are kept.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from random import Random

from autoglm_tvm.schedules.search.space import Config, Key, Space

Rate = Callable[[Sequence[Config]], Sequence[float]]

POPULATION = 256
GENERATIONS = 5
CROSSOVER = 0.3
# A configuration this much slower (log seconds) has e times fewer children.
_TEMPERATURE = 0.1


def fittest(
    space: Space, elites: Sequence[Config], rate: Rate, rng: Random
) -> list[tuple[float, Config]]:
    """Return rated configurations, the lowest rating first, at most one of each.

    A space that is no larger than what an evolution would rate is rated whole.

    Parameters
    ----------
    space
        What the configurations are of.
    elites
        Fast ones that are known already, ancestors of the rest; fewer than `POPULATION`.
    rate
        The cost model: predicted log seconds of each.
    rng
        Source of the random choices.
    """
    if space.size <= POPULATION * GENERATIONS:
        return _sorted(zip(rate(space.all), space.all, strict=True))
    drawn = [space.random(rng) for _ in range(POPULATION - len(elites))]
    generation = [*elites, *drawn]
    rated: dict[Key, tuple[float, Config]] = {}
    for _ in range(GENERATIONS):
        if rated:
            generation = _children(space, _sorted(rated.values())[:POPULATION], rng)
        fresh = {space.key(config): config for config in generation}
        fresh = {key: config for key, config in fresh.items() if key not in rated}
        ratings = rate(list(fresh.values()))
        rated.update(
            (key, (rating, config))
            for rating, (key, config) in zip(ratings, fresh.items(), strict=True)
        )
    return _sorted(rated.values())


def _children(space: Space, ranked: Sequence[tuple[float, Config]], rng: Random) -> list[Config]:
    best = ranked[0][0]
    weights = [math.exp((best - rating) / _TEMPERATURE) for rating, _ in ranked]
    parents = [config for _, config in rng.choices(ranked, weights, k=2 * POPULATION)]
    pairs = zip(parents[::2], parents[1::2], strict=True)
    return [
        space.crossover(mother, father, rng)
        if rng.random() < CROSSOVER
        else space.mutate(mother, rng)
        for mother, father in pairs
    ]


def _sorted(rated: Iterable[tuple[float, Config]]) -> list[tuple[float, Config]]:
    return sorted(rated, key=lambda one: one[0])
