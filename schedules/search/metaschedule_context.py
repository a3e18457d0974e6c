"""TVM's search without what surrounds it: no builder, no runner, no database on disk."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

# How often a sampled choice is changed, rather than a candidate kept as it is.
_MUTATED = 0.85
# Candidates that are made to see how long one takes.
_PROBES = 4


@dataclass(frozen=True)
class Effort:
    """How much a round of the search may cost.

    Attributes
    ----------
    cost_s
        Of making one candidate and its features, at most.
    population
        Candidates of a generation.
    generations
        Of a round.
    """

    cost_s: float
    population: int
    generations: int


# A round takes about two seconds of one core. TVM's own 512 candidates in 4 generations, of which
# 64 were measured, took 29 to 56 s.
EFFORTS = (Effort(0.01, 32, 3), Effort(0.03, 24, 2), Effort(float("inf"), 16, 1))


def search_context(
    module: Any,
    target: Any,
    postprocs: list[Any],
    mutators: dict[Any, float],
    effort: Effort,
    seed: int,
) -> Any:
    """A `TuneContext` with TVM's evolutionary search, on one thread.

    The constructor of `TuneContext` imports `tvm.s_tir.tensor_intrin`, which takes 20 s and
    registers intrinsics that nothing here uses: this does the rest of what it does.

    Parameters
    ----------
    module
        With the kernel as `main`.
    target
        TVM's.
    postprocs, mutators
        Of the search.
    effort
        How long it searches.
    seed
        Of its random numbers, 1 or more.
    """
    from tvm.s_tir.meta_schedule import _ffi_api
    from tvm.s_tir.meta_schedule.search_strategy import EvolutionarySearch
    from tvm.s_tir.meta_schedule.space_generator import ScheduleFn
    from tvm.s_tir.meta_schedule.tune_context import TuneContext

    api: Any = _ffi_api
    search = EvolutionarySearch(
        population_size=effort.population,
        init_min_unmeasured=1,
        genetic_num_iters=effort.generations,
        genetic_mutate_prob=_MUTATED,
    )
    # It only holds the postprocessors: the design spaces are handed over ready-made.
    space = ScheduleFn(lambda schedule: schedule, [], postprocs, mutators)
    context: Any = TuneContext.__new__(TuneContext)
    context.__init_handle_by_constructor__(
        api.TuneContext, module, target, space, search, "main", 1, seed, _log
    )
    api.TuneContextInitialize(context)
    return context


def cost_model(seed: int, warm_up: int) -> Any:
    """XGBoost on TVM's features of loops, on one thread; random before `warm_up` results."""
    from tvm.s_tir.meta_schedule.cost_model.xgb_model import XGBConfig, XGBModel

    model: Any = XGBModel
    return model(config=XGBConfig(nthread=1, seed=seed), num_warmup_samples=warm_up)


def candidate_cost(context: Any, model: Any) -> float:
    """Seconds of this core that a candidate and the cost model's view of it take."""
    start = time.process_time()
    made = sample(context, _PROBES)
    model.extractor.extract_from(context, candidates(made))
    return (time.process_time() - start) / _PROBES


def candidates(schedules: list[Any]) -> list[Any]:
    """The schedules as the cost model takes them."""
    from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate

    return [MeasureCandidate(schedule, []) for schedule in schedules]


def sample(context: Any, count: int) -> list[Any]:
    """Up to `count` schedules with random choices; fewer where some do not fit the kernel."""
    return list(_function("SampleInitPopulation")(context.search_strategy, count))


def evolve(context: Any, population: list[Any], count: int) -> list[Any]:
    """The `count` most promising descendants, those that it returned before left out."""
    if not population or count < 1:
        return []
    return list(_function("EvolveWithCostModel")(context.search_strategy, population, count))


def _function(name: str) -> Any:
    import tvm

    return tvm.get_global_func(f"s_tir.meta_schedule.SearchStrategyEvolutionarySearch{name}")


def _log(level: int, _file: str, _line: int, message: str) -> None:
    logging.getLogger(__name__).log(level, message)
