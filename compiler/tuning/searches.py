"""Give every task that matters its search, and tell it what records know already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoglm_tvm.compiler.tuning.open_task import OpenTask
from autoglm_tvm.schedules.records import RecordSet, TargetIdentity, workload_hash
from autoglm_tvm.schedules.search.cost_model import CostModel
from autoglm_tvm.schedules.search.knob_search import KnobSearch
from autoglm_tvm.schedules.search.search import Search
from autoglm_tvm.schedules.search.trace_search import TraceSearch
from autoglm_tvm.targets import Target

# Share of the model's time below which MetaSchedule, which takes seconds to begin, is not asked.
_WORTH_TRACES = 0.005
# Traces of one kernel: more have not found anything faster.
_TRACES = 32
# Candidates of a task that a resumed session compares in place of the one that was interrupted.
_UNCOMPARED = 3


@dataclass(frozen=True)
class Known:
    """What was measured before.

    Attributes
    ----------
    records
        The session's own folder and what came with the package.
    identity
        Of the target.
    resume
        Whether earlier trials count as trials of this session; else they are tried first.
    """

    records: RecordSet
    identity: TargetIdentity
    resume: bool


def make_searches(tasks: Sequence[OpenTask], target: Target, known: Known, seed: int) -> None:
    """Set `search` of every task that was measured and has something to choose."""
    total = sum(one.state.total_default_seconds for one in tasks)
    models: dict[str, CostModel] = {}
    for number, one in enumerate(tasks):
        if one.state.done:
            continue
        one.search = _search(one, total, target, known, models, seed + number)
        if one.search is None:
            one.state.done = "nothing to choose"
            continue
        if known.resume:
            _replay(one, known)


def uncompared(one: OpenTask, known: Known) -> list[tuple[OpenTask, dict[str, Any], float]]:
    """What an earlier session measured as faster than all that it kept, and did not compare.

    It was interrupted before; the fastest first, with the task, its configuration and its seconds.
    """
    kept = one.kept_seconds or one.state.default_seconds or 0.0
    tried = known.records.tried(workload_hash(one.task.workload), known.identity).values()
    fast = [
        (one, record.config, record.seconds)
        for record in tried
        if record.failure is None
        and record.ratio is None
        and record.seconds is not None
        and record.seconds < kept
        and (one.task.space is None or one.task.space.fit(record.config) is not None)
    ]
    return sorted(fast, key=lambda each: each[2])[:_UNCOMPARED]


def _search(
    one: OpenTask,
    total: float,
    target: Target,
    known: Known,
    models: dict[str, CostModel],
    seed: int,
) -> Search | None:
    task, default_seconds = one.task, one.state.default_seconds
    assert default_seconds is not None
    if task.space is not None:
        model = models.setdefault(task.family, CostModel())
        search = KnobSearch(task.space, task.features, model, seed, _promising(one, known))
        search.tell([(task.space.default, default_seconds)])
        return search
    if one.state.total_default_seconds < _WORTH_TRACES * total:
        return None
    traces = TraceSearch(task.function, target, seed=seed, max_trials=_TRACES)
    return None if traces.spent else traces


def _promising(one: OpenTask, known: Known) -> list[dict[str, Any]]:
    """Configurations to begin with: the best of near targets, and of this one's records."""
    key = workload_hash(one.task.workload)
    near = [record.config for record in known.records.seeds(key, known.identity)]
    best = known.records.best(key, known.identity)
    return near if best is None or known.resume else [best.config, *near]


def _replay(one: OpenTask, known: Known) -> None:
    """Tell the search what an earlier session has tried, and count it."""
    assert one.search is not None
    tried = known.records.tried(workload_hash(one.task.workload), known.identity)
    for record in tried.values():
        one.search.tell([(record.config, None if record.failure else record.seconds)])
        one.state.trials += 1
        if record.failure is not None:
            one.state.failures[record.failure.kind] += 1
    best = known.records.best(workload_hash(one.task.workload), known.identity)
    if best is not None and best.ratio is not None:
        one.state.best_ratio = best.ratio
        one.kept_seconds = one.state.best_seconds = best.ratio * (one.state.default_seconds or 0.0)
