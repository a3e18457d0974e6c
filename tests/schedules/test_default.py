"""Which rule takes a kernel, and what is told of those that did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from autoglm_tvm.schedules import FALLBACK, Decision
from autoglm_tvm.schedules.default import schedule_kernel
from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine, machine_of
from autoglm_tvm.schedules.rule import Refusal
from autoglm_tvm.schedules.rules import DEFAULT_RULES
from autoglm_tvm.targets import resolve_target


@dataclass
class Refuses:
    """A rule that takes nothing."""

    name: str
    met: int

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        return Refusal(f"{self.met} conditions held", met=self.met)

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        raise AssertionError("a rule that refuses is never applied")


@dataclass
class Takes:
    """A rule that takes everything and does nothing, or fails on the way."""

    name: str
    fails: bool = False

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        return None

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        if self.fails:
            # A loop that is half done must not reach the next rule.
            kernel.schedule.split(kernel.schedule.get_loops(kernel.blocks[0].handle)[0], [None, 3])
            kernel.schedule.compute_inline(kernel.blocks[0].handle)
        return "done"


def product(rows: int | None = 5, dtype: str = "float32", attrs: Any = None) -> Any:
    """The sums of products of an [rows, 7] and a [7, 11] matrix; no rows are symbolic ones."""
    from tvm import te

    extent: Any = te.var("n", "int64") if rows is None else rows
    a: Any = te.placeholder((extent, 7), dtype, "a")
    b: Any = te.placeholder((7, 11), dtype, "b")
    k = te.reduce_axis((0, 7), "k")
    result: Any = te.compute(
        (extent, 11), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), "product", attrs=attrs
    )
    return te.create_prim_func([a, b, result])


@pytest.fixture(scope="module")
def machine() -> Machine:
    return machine_of(resolve_target("host", threads=2))


def decide(function: Any, machine: Machine, *rules: Any) -> Decision:
    return schedule_kernel(function, machine, rules or DEFAULT_RULES)[1]


def test_the_rule_most_of_whose_conditions_held_is_the_closest(machine: Machine) -> None:
    rules = (Refuses("far", 1), Refuses("near", 3), Refuses("apart", 0), Takes("all"))
    found = decide(product(), machine, *rules)
    assert found == Decision("all", "done", "near", "3 conditions held", 5 * 7 * 11)


def test_rules_with_nothing_in_common_are_not_named(machine: Machine) -> None:
    found = decide(product(), machine, Refuses("apart", 0), Takes("all"))
    assert (found.closest_rule, found.refusal) == ("", "")


def test_rules_behind_the_one_that_takes_it_are_not_asked(machine: Machine) -> None:
    found = decide(product(), machine, Takes("first"), Refuses("later", 9))
    assert found == Decision("first", "done", iterations=5 * 7 * 11)


def test_a_schedule_that_fails_leaves_the_kernel_to_the_next_rule(machine: Machine) -> None:
    function = product()
    rules = (Takes("clumsy", fails=True), Refuses("near", 3), Takes("all"))
    scheduled: Any
    scheduled, found = schedule_kernel(function, machine, rules)
    assert (found.rule, found.closest_rule) == ("all", "clumsy")
    assert found.refusal.startswith("the schedule failed: ")
    assert str(scheduled.body) == str(function.body)


def test_a_kernel_that_every_rule_refuses_stays_as_it_is(machine: Machine) -> None:
    function = product()
    scheduled, found = schedule_kernel(function, machine, (Refuses("near", 3),))
    assert scheduled.same_as(function)
    assert found == Decision("", "no rule takes it", "near", "3 conditions held", 5 * 7 * 11)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        ({"dtype": "int8"}, "it multiplies int8"),
        ({"rows": None}, "its sizes are symbolic"),
        ({}, "two matrices"),
    ],
)
def test_products_in_plain_loops_name_what_they_lack(
    function: dict[str, Any], says: str, machine: Machine
) -> None:
    found = decide(product(**function), machine)
    assert (found.rule, found.closest_rule) == (FALLBACK, "contraction")
    assert says in found.refusal
    assert (found.iterations is None) == ("rows" in function)


def test_a_sum_of_squares_is_no_product(machine: Machine) -> None:
    from tvm import te

    a: Any = te.placeholder((5, 7), "float32", "a")
    k = te.reduce_axis((0, 7), "k")
    squares: Any = te.compute((5,), lambda i: te.sum(a[i, k] * a[i, k], axis=k), "squares")
    assert decide(te.create_prim_func([a, squares]), machine).closest_rule == ""


def test_products_made_for_another_rule_are_none_of_contractions(machine: Machine) -> None:
    assert decide(product(attrs={"other.role": "sum"}), machine).closest_rule == ""
