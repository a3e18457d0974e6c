"""What a rule is: it says whether it can schedule a kernel, and schedules it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from autoglm_tvm.schedules.kernel import Kernel
from autoglm_tvm.schedules.machine import Machine


@dataclass(frozen=True)
class Refusal:
    """Why a rule leaves a kernel to the next one.

    Attributes
    ----------
    reason
        What was expected and what was found, for people.
    met
        How many of the rule's conditions held before this one: the rule that came closest is the
        one with the most.
    """

    reason: str
    met: int


class Rule(Protocol):
    """Schedules one family of operators.

    Attributes
    ----------
    name
        The family, as manifests and `explain` name it.
    """

    name: str

    def check(self, kernel: Kernel, machine: Machine) -> Refusal | None:
        """Say why the kernel is not of this family; None if it is. Changes nothing."""
        ...

    def apply(self, kernel: Kernel, machine: Machine) -> str:
        """Schedule the kernel in place and describe for people what was done."""
        ...
