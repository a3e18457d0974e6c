"""Which kernels and which loops of a counted run execute most."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from benchmarks.aarch64.count_instructions import Counted
from benchmarks.aarch64.disassembly import disassemble, executions, with_addresses
from benchmarks.aarch64.inner_loop import Loop, loops_that_ran
from benchmarks.aarch64.trial import LANES, Trial
from benchmarks.multiply_adds import kernel_multiply_adds


@dataclass(frozen=True)
class KernelCount:
    """Instructions of all calls of a kernel on the same shapes, in one run.

    ``floor`` is that of the same calls; ``None`` where the manifest does not tell which call
    computes what.
    """

    name: str
    shapes: str
    calls: int
    instructions: int
    floor: int | None
    schedule: str


def kernel_counts(counted: Counted, trial: Trial) -> list[KernelCount]:
    """Return the counts of the kernels, those with the most instructions first."""
    entries = trial.bundle.manifest.kernels
    schedules = {entry.function: entry.schedule for entry in entries}
    # The manifest lists the calls in the order of execution, and so were they counted.
    told = [entry.function for entry in entries] == [
        call.split(" ")[0] for call, _ in counted.calls
    ]
    work = kernel_multiply_adds(trial.read, [entry.output for entry in entries])
    spent: dict[str, list[int]] = defaultdict(list)
    least: dict[str, int] = defaultdict(int)
    for position, (call, instructions) in enumerate(counted.calls):
        spent[call].append(instructions)
        least[call] += work[position] // LANES if told else 0
    found = []
    for call, each in spent.items():
        name, _, shapes = call.partition(" ")
        floor = least[call] if told else None
        schedule = schedules.get(name, "not in the manifest")
        found.append(KernelCount(name, shapes, len(each), sum(each), floor, schedule))
    return sorted(found, key=lambda kernel: -kernel.instructions)


def busiest_file(counted: Counted) -> str:
    """Return the file in which most instructions ran."""
    spent: dict[str, int] = defaultdict(int)
    for block in counted.blocks:
        spent[block.file] += block.instructions * block.executions
    return max(spent, key=lambda file: spent[file])


def hot_loops(counted: Counted) -> list[Loop]:
    """Return the innermost loops of the busiest file, the heaviest first."""
    file = Path(busiest_file(counted))
    blocks = with_addresses(file, counted.blocks)
    return loops_that_ran(disassemble(file, blocks), executions(blocks))
