"""Find the inner loop of a kernel in machine code, and what it is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.aarch64.disassembly import Instruction

#: Multiply-adds that one instruction does on 128 bits, by element size; 64 bits do half.
_FMA = re.compile(r"^(fmla|fmls|mla|mls|smlal2?|umlal2?|fmlal2?)$")
_SCALAR_FMA = re.compile(r"^fn?m(add|sub)$")
_LANES = {"4s": 4, "2s": 2, "8h": 8, "4h": 4, "2d": 2, "16b": 16, "8b": 8}
#: Products an output lane: dot products of 4 bytes or 2 halves, 2x2 tiles of 8 bytes or 4 halves.
_DOT = {"sdot": 4, "udot": 4, "usdot": 4, "sudot": 4, "bfdot": 2}
_TILE = {"smmla": 8, "ummla": 8, "usmmla": 8, "bfmmla": 4}
_ARRANGEMENT = re.compile(r"^\{?\s*v\d+\.(\w+?)(?:\[|\b)")
_STACK = re.compile(r"\[sp\b")
_FRAME = re.compile(r"\[x29\b")
_REGISTER_LIST = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Loop:
    """An innermost loop.

    Attributes
    ----------
    body
        Its instructions, the branch back last.
    executed, executed_multiply_adds
        Instructions and multiply-adds executed in it, in a run of the model.
    spills
        Loads and stores relative to the stack pointer or the frame pointer.
    """

    body: tuple[Instruction, ...]
    executed: int
    executed_multiply_adds: int
    spills: int

    @property
    def multiply_add_instructions(self) -> int:
        """Instructions that multiply and add."""
        return sum(multiply_adds(instruction) > 0 for instruction in self.body)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds, all lanes of vectors counted."""
        return sum(map(multiply_adds, self.body))

    @property
    def loads(self) -> int:
        """Registers that are loaded from memory."""
        return sum(map(loaded_registers, self.body))

    @property
    def stores(self) -> int:
        """Store instructions."""
        return sum(instruction.mnemonic.startswith("st") for instruction in self.body)

    @property
    def loads_per_multiply_add(self) -> float | None:
        """Registers loaded for each instruction that multiplies and adds, if there is one."""
        instructions = self.multiply_add_instructions
        return self.loads / instructions if instructions else None

    @property
    def branches_inside(self) -> int:
        """Branches other than the last one; a model of straight code knows nothing of them."""
        return sum(instruction.target is not None for instruction in self.body[:-1])

    def to_json(self) -> dict[str, Any]:
        """Plain values, the code included."""
        names = ("executed", "spills", "loads", "stores", "branches_inside")
        return {
            "instructions": len(self.body),
            "multiply_add_instructions": self.multiply_add_instructions,
            "loads_per_multiply_add": self.loads_per_multiply_add,
            **{name: getattr(self, name) for name in names},
            "code": [str(instruction) for instruction in self.body],
        }


def multiply_adds(instruction: Instruction) -> int:
    """Return how many multiply-adds an instruction does, 0 if it is another one."""
    name = instruction.mnemonic
    if _SCALAR_FMA.match(name):
        return 1
    if not (_FMA.match(name) or name in _DOT or name in _TILE):
        return 0
    arrangement = _ARRANGEMENT.match(instruction.operands)
    lanes = _LANES.get(arrangement.group(1), 1) if arrangement else 1
    return lanes * _DOT.get(name, 1) * _TILE.get(name, 1)


def loaded_registers(instruction: Instruction) -> int:
    """Return how many registers an instruction loads."""
    name = instruction.mnemonic
    if re.match(r"^ld[1-4]r?$", name):
        registers = _REGISTER_LIST.match(instruction.operands)
        if registers is None:
            return 1
        span = re.findall(r"v(\d+)", registers.group(1))
        if "-" in registers.group(1):
            return (int(span[-1]) - int(span[0])) % 32 + 1
        return len(span)
    if name in ("ldp", "ldnp", "ldpsw"):
        return 2
    return int(name.startswith("ld"))


def innermost_loops(code: Sequence[Instruction]) -> list[tuple[int, int]]:
    """Return first and last position of every loop that has no loop inside.

    A loop is what lies between a branch and its target further up.
    """
    positions = {instruction.address: at for at, instruction in enumerate(code)}
    loops: set[tuple[int, int]] = set()
    for last, instruction in enumerate(code):
        if instruction.target is None or instruction.target > instruction.address:
            continue
        first = positions.get(instruction.target)
        # Between two pieces of disassembly lies code that was not looked at.
        whole = (
            first is not None and code[first].address + 4 * (last - first) == instruction.address
        )
        if first is not None and whole:
            loops.add((first, last))
    return sorted(
        loop
        for loop in loops
        if not any(other != loop and loop[0] <= other[0] and other[1] <= loop[1] for other in loops)
    )


def loops_that_ran(code: Sequence[Instruction], executions: Mapping[int, int]) -> list[Loop]:
    """Return the innermost loops, the one that executed most instructions first.

    ``executions`` are counts by address.
    """
    loops = [_loop(code, *span, executions) for span in innermost_loops(code)]
    return sorted((loop for loop in loops if loop.executed), key=lambda loop: -loop.executed)


def main_loop(loops: Sequence[Loop]) -> Loop | None:
    """Return the loop that does most of the multiply-adds, of loops in the order of their weight.

    Where nothing multiplies and adds in one instruction, it is the first one.
    """
    return max(loops, key=lambda loop: loop.executed_multiply_adds, default=None)


def _loop(
    code: Sequence[Instruction], first: int, last: int, executions: Mapping[int, int]
) -> Loop:
    body = tuple(code[first : last + 1])
    counts = [executions.get(instruction.address, 0) for instruction in body]
    done = sum(n * multiply_adds(each) for n, each in zip(counts, body, strict=True))
    framed = _has_frame_pointer(code, first)
    spills = sum(
        bool(_STACK.search(each.operands) or (framed and _FRAME.search(each.operands)))
        for each in body
        if each.mnemonic.startswith(("ld", "st"))
    )
    return Loop(body, sum(counts), done, spills)


def _has_frame_pointer(code: Sequence[Instruction], position: int) -> bool:
    """Whether the function around a position keeps the frame's address in x29."""
    for instruction in reversed(code[:position]):
        if instruction.mnemonic == "ret":
            return False
        if instruction.operands.startswith("x29, sp") and instruction.mnemonic in ("mov", "add"):
            return True
    return False
