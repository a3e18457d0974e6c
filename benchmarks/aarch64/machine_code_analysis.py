"""Ask llvm-mca how many cycles a loop takes on a core, and how busy its multiply-add pipes are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError
from benchmarks.aarch64.disassembly import Instruction
from benchmarks.aarch64.inner_loop import Loop

_ITERATIONS = 100
_TIMEOUT_S = 120
_FEATURES = "+dotprod,+fullfp16,+i8mm,+bf16"
_CYCLES = re.compile(r"^Total Cycles:\s+(\d+)$", re.MULTILINE)
_NAME = re.compile(r"^llvm-mca-(\d+)$")


@dataclass(frozen=True)
class Core:
    """A core whose loops are analysed.

    Attributes
    ----------
    name
        The core.
    pipes
        Its pipes that do a 128-bit multiply-add each cycle.
    tables
        CPUs to ask LLVM for: the core, then a sibling. LLVM often schedules for a core with the
        table of an older one, so the first that has as many pipes is taken.
    """

    name: str
    pipes: int
    tables: tuple[str, ...]


#: LLVM 22 takes the Cortex-A57's table, whose pipes have 64 bits, for the A76; Neoverse N1 is the
#: A76's design for servers. For Cortex-X2 it takes the table of Neoverse V2.
CORES = (
    Core("cortex-a76", 2, ("cortex-a76", "neoverse-n1")),
    Core("cortex-x2", 4, ("cortex-x2", "neoverse-v2")),
)
#: Independent multiply-adds in a loop, enough to fill the pipes of every core.
_PEAK_INSTRUCTIONS = 24


@dataclass(frozen=True)
class Analysis:
    """What llvm-mca says about a loop on a core.

    Attributes
    ----------
    core
        The core.
    table
        The CPU whose table LLVM was asked for.
    cycles
        Cycles an iteration takes, in the long run.
    pipe_use
        Share of the multiply-add pipes' slots that are used, 0 to 1.
    """

    core: str
    table: str
    cycles: float
    pipe_use: float


def find_llvm_mca() -> str:
    """Return the newest llvm-mca on the path.

    Raises
    ------
    MissingToolError
        There is none, or only the unversioned one of an old LLVM that lacks the cores.
    """
    versions: dict[int, str] = {}
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        for path in Path(folder).glob("llvm-mca-*") if folder else []:
            matched = _NAME.match(path.name)
            if matched and os.access(path, os.X_OK):
                versions.setdefault(int(matched.group(1)), str(path))
    if versions:
        return versions[max(versions)]
    plain = shutil.which("llvm-mca")
    if plain is None:
        raise MissingToolError(
            "llvm-mca is missing", hint="apt-get install llvm, or the newest llvm-NN that there is"
        )
    return plain


def analyse(llvm_mca: str, loop: Loop, core: Core) -> Analysis:
    """Analyse a loop on a core.

    Raises
    ------
    MissingToolError
        This llvm-mca does not know the core or an instruction.
    """
    table = find_table(llvm_mca, core)
    cycles = parse_cycles(_run(llvm_mca, assembly(loop.body), table)) / _ITERATIONS
    use = loop.multiply_add_instructions / (cycles * core.pipes)
    return Analysis(core.name, table, cycles, use)


@lru_cache
def find_table(llvm_mca: str, core: Core) -> str:
    """Return the CPU that LLVM has to be asked for, so that the core has all its pipes.

    Raises
    ------
    MissingToolError
        There is none: this LLVM is too old.
    """
    peak = "".join(f"\tfmla\tv{8 + at}.4s, v0.4s, v1.s[0]\n" for at in range(_PEAK_INSTRUCTIONS))
    for table in core.tables:
        cycles = parse_cycles(_run(llvm_mca, peak, table)) / _ITERATIONS
        if _PEAK_INSTRUCTIONS / cycles > core.pipes - 0.5:
            return table
    raise MissingToolError(
        f"{llvm_mca} has no table with the {core.pipes} multiply-add pipes of {core.name}",
        hint="install the newest llvm-NN that there is",
    )


def assembly(body: Sequence[Instruction]) -> str:
    """Return a loop as an assembler takes it: branches go to labels."""
    first = body[0].address
    lines = ["0:"]
    for instruction in body:
        operands = instruction.operands
        if instruction.target is not None or instruction.mnemonic in ("bl", "adr", "adrp"):
            label = "0b" if instruction.target == first else "9f"
            operands = ", ".join([*operands.split(", ")[:-1], label])
        lines.append(f"\t{instruction.mnemonic}\t{operands}")
    return "\n".join([*lines, "9:", ""])


def parse_cycles(report: str) -> int:
    """Return the total cycles that a report of llvm-mca names."""
    found = _CYCLES.search(report)
    if found is None:
        raise MissingToolError("llvm-mca does not say how many cycles", where=report[:200])
    return int(found.group(1))


def _run(llvm_mca: str, text: str, cpu: str) -> str:
    command = [
        *[llvm_mca, "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-mattr={_FEATURES}"],
        *[f"-iterations={_ITERATIONS}", "-instruction-info=false", "-"],
    ]
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode != 0 or "not a recognized processor" in done.stderr:
        said = (done.stderr.strip().splitlines() or ["nothing"])[0]
        raise MissingToolError(
            f"{llvm_mca} -mcpu={cpu} fails: {said}", hint="install the newest llvm-NN that there is"
        )
    return done.stdout
