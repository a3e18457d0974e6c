"""Run a program for arm64 under qemu and count the instructions of one run of a model."""

from __future__ import annotations

import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.targets.errors import CheckFailedError
from benchmarks.aarch64.tools import QEMU, SYSROOT, Tools

if TYPE_CHECKING:
    import numpy as np

#: An emulated model may take this long, its loading included. Seconds.
TIME_LIMIT = 3 * 3600
#: Code of a DLDataType by numpy's letter; bfloat16 is a letter of its own in ml_dtypes.
_DLPACK_CODES = {"i": 0, "u": 1, "f": 2, "b": 6, "V": 4}
#: Tensors start at multiples of this, as TVM's kernels may assume. Bytes.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Mapping:
    """A piece of a file in memory: addresses ``start`` to ``end``, from ``offset`` in the file."""

    start: int
    end: int
    offset: int
    file: str


@dataclass(frozen=True)
class Block:
    """Straight code that ran.

    Attributes
    ----------
    file
        The library or program that it lies in; empty for code outside of any.
    offset
        Where it begins in the file; without a file, its address.
    instructions
        Its length.
    executions
        How often it ran.
    """

    file: str
    offset: int
    instructions: int
    executions: int


@dataclass(frozen=True)
class Counted:
    """What one run of a model executed.

    Attributes
    ----------
    instructions
        All executed instructions.
    blocks
        The code that ran; the same code may occur more than once.
    outputs
        The bytes of all outputs, one after the other.
    calls
        Where kernels were asked for: what each call was, and the instructions in it.
    """

    instructions: int
    blocks: tuple[Block, ...]
    outputs: bytes
    calls: tuple[tuple[str, int], ...] = ()


def count(
    tools: Tools,
    program: Path,
    model: Path,
    arguments: Sequence[np.ndarray],
    cpu: str,
    *,
    kernels: bool = False,
) -> Counted:
    """Run a model twice and count the second run, on one thread.

    Parameters
    ----------
    tools
        The result of `build_tools`.
    program
        One of its runners.
    model
        What it runs: a bundle's library, or an ONNX file.
    arguments
        The tensors that it is called with.
    cpu
        The CPU, as qemu names it.
    kernels
        Count each kernel call of a bundle too. The hook that does it adds some thousand
        instructions a call to the total.

    Raises
    ------
    CheckFailedError
        The program fails; the message has what it said.
    """
    with tempfile.TemporaryDirectory(prefix="autoglm-count-") as temporary:
        folder = Path(temporary)
        _write_tensors(folder, arguments)
        counts, calls = folder / "counts", folder / "calls"
        command = [
            *[QEMU, "-cpu", cpu, "-L", str(SYSROOT), "-plugin", f"{tools.plugin},out={counts}"],
            *["-E", f"LD_LIBRARY_PATH={tools.libraries}", "-E", "TVM_NUM_THREADS=1"],
            *[str(program), str(model), str(folder / "tensors.txt")],
            *[str(folder / "outputs"), str(folder / "maps")],
            *([str(calls)] if kernels else []),
        ]
        _run(command, cpu, program, model)
        marks, blocks = parse_counts(counts.read_text(), parse_maps((folder / "maps").read_text()))
        names = calls.read_text().splitlines() if kernels else []
        # The first and the last mark are the run's own; between them each call has two.
        spent = [after - before for before, after in zip(marks[1::2], marks[2::2], strict=False)]
        return Counted(
            marks[-1],
            tuple(blocks),
            (folder / "outputs").read_bytes(),
            tuple(zip(names, spent, strict=True)) if kernels else (),
        )


def _run(command: list[str], cpu: str, program: Path, model: Path) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise CheckFailedError(
            f"{program.name} took over {TIME_LIMIT} s under {QEMU}", where=str(model)
        ) from None
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise CheckFailedError(
            f"{program.name} ended with status {done.returncode} under {QEMU} -cpu {cpu}: {said}",
            where=str(model),
            hint="an illegal instruction (status 132 or -4) means that the CPU lacks a feature",
        )


def _write_tensors(folder: Path, arguments: Sequence[np.ndarray]) -> None:
    import numpy as np

    lines = []
    with (folder / "tensors.bin").open("wb") as file:
        for array in arguments:
            file.write(bytes(-file.tell() % _ALIGNMENT))
            code, bits = _DLPACK_CODES[array.dtype.kind], array.itemsize * 8
            dims = " ".join(str(dim) for dim in array.shape)
            lines.append(f"tensors.bin {file.tell()} {array.nbytes} {code} {bits} {dims}\n")
            file.write(np.ascontiguousarray(array).tobytes())
    (folder / "tensors.txt").write_text("".join(lines))


def parse_maps(text: str) -> list[Mapping]:
    """Read ``/proc/PID/maps``: the pieces of files in it, by address."""
    found = []
    for line in text.splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/"):
            start, end = (int(word, 16) for word in words[0].split("-"))
            found.append(Mapping(start, end, int(words[2], 16), words[5]))
    return sorted(found, key=lambda mapping: mapping.start)


def parse_counts(text: str, maps: Sequence[Mapping]) -> tuple[list[int], list[Block]]:
    """Read what the plugin wrote: the count at each mark, and the blocks."""
    starts = [mapping.start for mapping in maps]
    marks, blocks = [], []
    for line in text.splitlines():
        kind, *words = line.split()
        if kind == "mark":
            marks.append(int(words[0]))
            continue
        address = int(words[0], 16)
        at = bisect_right(starts, address) - 1
        file, offset = "", address
        if at >= 0 and address < maps[at].end:
            file, offset = maps[at].file, address - maps[at].start + maps[at].offset
        blocks.append(Block(file, offset, int(words[1]), int(words[2])))
    return marks, blocks
