"""The machine code that ran, instruction by instruction, from objdump."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoglm_tvm.targets.errors import MissingToolError
from benchmarks.aarch64.count_instructions import Block

_OBJDUMP = "aarch64-linux-gnu-objdump"
_TIMEOUT_S = 300
#: Bytes of an instruction.
SIZE = 4
#: Code this far from what ran is looked at too, so that a loop is seen whole. Bytes.
_AROUND = 8192
#: Blocks that together are this share of what ran in a file are disassembled.
_ENOUGH = 0.98
# "    59c0:	sub	w13, w11, #0x2" ; comments begin with "//"
_LINE = re.compile(r"^\s*([0-9a-f]+):\s+(\S+)\s*(.*)$")
_BRANCH = re.compile(r"^(b|b\.\w+|bc\.\w+|cbn?z|tbn?z)$")
_TARGET = re.compile(r"(?:^|\s)(?:0x)?([0-9a-f]+)(?:\s*<[^>]*>)?$")


@dataclass(frozen=True)
class Instruction:
    """One instruction; ``target`` is where it branches to, if it does (calls are no branches)."""

    address: int
    mnemonic: str
    operands: str
    target: int | None = None

    def __str__(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()


def disassemble(file: Path, blocks: Sequence[Block]) -> list[Instruction]:
    """Return the code in and around the blocks where most of a file's instructions ran.

    Parameters
    ----------
    file
        An arm64 library.
    blocks
        What ran in it, at addresses (`with_addresses`).

    Raises
    ------
    MissingToolError
        objdump is missing or fails.
    """
    found: list[Instruction] = []
    for start, stop in _ranges(blocks):
        command = [
            *[_OBJDUMP, "--disassemble", "--no-show-raw-insn", "--section=.text"],
            *[f"--start-address={start}", f"--stop-address={stop}", str(file)],
        ]
        if not shutil.which(_OBJDUMP):
            raise MissingToolError(
                f"{_OBJDUMP} is missing", hint="apt-get install binutils-aarch64-linux-gnu"
            )
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise MissingToolError(f"{_OBJDUMP} fails: {done.stderr.strip()}", where=str(file))
        found += parse_disassembly(done.stdout)
    return found


def parse_disassembly(text: str) -> list[Instruction]:
    """Read what objdump prints."""
    found = []
    for line in text.splitlines():
        matched = _LINE.match(line.split("//")[0].rstrip())
        if matched is None:
            continue
        address, mnemonic, operands = matched.groups()
        target = _TARGET.search(operands) if _BRANCH.match(mnemonic) else None
        found.append(
            Instruction(
                int(address, 16), mnemonic, operands, int(target.group(1), 16) if target else None
            )
        )
    return found


def with_addresses(file: Path, blocks: Iterable[Block]) -> list[Block]:
    """Return a file's blocks with addresses as objdump shows them in place of file offsets."""
    from elftools.elf.elffile import ELFFile

    with file.open("rb") as stream:
        segments = [
            (segment["p_offset"], segment["p_filesz"], segment["p_vaddr"])
            for segment in ELFFile(stream).iter_segments("PT_LOAD")
        ]
    found = []
    for block in blocks:
        if Path(block.file).name != file.name:
            continue
        for offset, size, address in segments:
            if offset <= block.offset < offset + size:
                at = block.offset - offset + address
                found.append(Block(block.file, at, block.instructions, block.executions))
    return found


def executions(blocks: Iterable[Block]) -> dict[int, int]:
    """Return for each address how often its instruction ran."""
    counts: dict[int, int] = {}
    for block in blocks:
        for index in range(block.instructions):
            address = block.offset + index * SIZE
            counts[address] = counts.get(address, 0) + block.executions
    return counts


def _ranges(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """Return the addresses from and to which code is worth a look, apart and in order."""
    ordered = sorted(blocks, key=lambda block: -block.instructions * block.executions)
    wanted = _ENOUGH * sum(block.instructions * block.executions for block in blocks)
    ranges: list[tuple[int, int]] = []
    for block in ordered:
        if wanted <= 0:
            break
        wanted -= block.instructions * block.executions
        stop = block.offset + block.instructions * SIZE + _AROUND
        ranges.append((max(0, block.offset - _AROUND), stop))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged
