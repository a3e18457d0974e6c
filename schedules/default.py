"""Apply the default schedules to every kernel of a module: the first rule that fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.schedules.rule import Refusal, Rule
from autoglm_tvm.schedules.rules import DEFAULT_RULES
from autoglm_tvm.targets import Target

if TYPE_CHECKING:
    from tvm import IRModule, tirx


# The rule that takes what no other one takes.
FALLBACK = DEFAULT_RULES[-1].name
# How the refusal of a rule begins that took a kernel and failed, a defect of ours.
FAILED = "the schedule failed"
_ALL_MET = 99
# Of configurations: a trace of MetaSchedule, in place of knobs of our rules.
TRACE = "trace"


@dataclass(frozen=True)
class Decision:
    """Which rule scheduled a kernel, and which one nearly did.

    Attributes
    ----------
    rule
        Name of the rule; empty where the kernel was left as it was.
    description
        What the rule did, or why the kernel was left.
    tuned
        Whether it was scheduled as tuning has chosen.
    closest_rule, refusal
        Of the rules that refused it, the one most of whose conditions held, and why it refused;
        empty where none has anything in common with the kernel.
    iterations
        Of all its loop nests together before scheduling, about its multiply-adds; None where a
        loop is symbolic or there are no loops that schedules describe.
    """

    rule: str
    description: str
    closest_rule: str = ""
    refusal: str = ""
    iterations: int | None = None
    tuned: bool = False


@dataclass(frozen=True)
class ScheduledModule:
    """A module whose kernels are scheduled.

    Attributes
    ----------
    module
        The module with new bodies of its ``PrimFunc`` kernels.
    decisions
        What was decided for each kernel, by its name.
    """

    module: IRModule
    decisions: dict[str, Decision]


def apply_default_schedules(
    module: IRModule, target: Target, configs: Mapping[str, Mapping[str, Any]] | None = None
) -> ScheduledModule:
    """Schedule every ``PrimFunc``; the module that is given stays as it is.

    `configs` are what tuning chose, by the kernel's name.
    """
    from tvm import IRModule, tirx

    machine = machine_of(target)
    functions = {}
    decisions: dict[str, Decision] = {}
    content: Any = module
    for variable, function in content.functions.items():
        if isinstance(function, tirx.PrimFunc):
            config = (configs or {}).get(variable.name_hint, {})
            function, decision = _schedule(function, target, machine, config)
            decisions[variable.name_hint] = decision
        functions[variable] = function
    return ScheduledModule(IRModule(functions, attrs=content.attrs), decisions)


def _schedule(
    function: tirx.PrimFunc, target: Target, machine: Machine, config: Mapping[str, Any]
) -> tuple[tirx.PrimFunc, Decision]:
    """As a record says; by default where there is none, or where it does not fit."""
    if TRACE in config:
        from autoglm_tvm.schedules.search.metaschedule import apply_trace

        default = schedule_kernel(function, machine)
        try:
            traced = apply_trace(function, dict(config), target)
        except ValueError:
            return default
        steps = len(config[TRACE][0])
        decision = Decision("metaschedule", f"{steps} steps of a recorded trace", tuned=True)
        return traced, replace(decision, iterations=default[1].iterations)
    scheduled, decision = schedule_kernel(function, machine, config=config)
    if config and decision.refusal.startswith(FAILED):
        return schedule_kernel(function, machine)
    return scheduled, decision


def schedule_kernel(
    function: tirx.PrimFunc,
    machine: Machine,
    rules: tuple[Rule, ...] = DEFAULT_RULES,
    config: Mapping[str, Any] | None = None,
) -> tuple[tirx.PrimFunc, Decision]:
    """Return the kernel as the first of `rules` that fits schedules it, and what was decided.

    `config` is what tuning chose; the rule decides the rest. A kernel whose structure TVM's
    schedules cannot describe (sorting, hand-written TIR) comes back unchanged.
    """
    try:
        kernel = Kernel(function, config)
    except Exception as error:
        return function, Decision("", f"TVM's schedules cannot describe it: {_first_line(error)}")
    iterations = _iterations(kernel)
    refusals: list[tuple[Rule, Refusal]] = []
    for rule in rules:
        outcome = _take(rule, kernel, machine)
        if isinstance(outcome, str):
            closest = _closest(refusals)
            decision = Decision(rule.name, outcome, *closest, iterations, tuned=bool(config))
            return kernel.schedule.mod["main"], decision
        refusals.append((rule, outcome))
        if outcome.met == _ALL_MET:
            # It began to schedule before it failed.
            kernel = Kernel(function, config)
    return function, Decision("", "no rule takes it", *_closest(refusals), iterations)


def _take(rule: Rule, kernel: Kernel, machine: Machine) -> str | Refusal:
    """Let a rule schedule the kernel: what it did, or why it did not.

    A defect of a rule leaves the kernel to the next one, slower but right; `explain` names it.
    """
    try:
        return rule.check(kernel, machine) or rule.apply(kernel, machine)
    except Exception as error:
        return Refusal(f"{FAILED}: {_first_line(error)}", met=_ALL_MET)


def _closest(refusals: list[tuple[Rule, Refusal]]) -> tuple[str, str]:
    """Name the rule that came closest, if one had more than nothing in common with the kernel."""
    near = [(rule, refusal) for rule, refusal in refusals if refusal.met > 0]
    if not near:
        return "", ""
    rule, refusal = max(near, key=lambda pair: pair[1].met)
    return rule.name, refusal.reason


def _iterations(kernel: Kernel) -> int | None:
    extents = [(*block.spatial, *block.reduced) for block in kernel.blocks]
    known = [[extent for extent in nest if extent is not None] for nest in extents]
    symbolic = any(None in nest for nest in extents)
    return None if symbolic else sum(prod(nest) for nest in known)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
