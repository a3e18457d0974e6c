"""LLVM code that rounds floats to integers, and narrows these to bytes on NEON."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Floats in a vector of NEON.
NEON = 4
# The smallest and the largest byte.
LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
# The smallest and the largest number of 16 bits.
_HALVES = (-32768, 32767)
# Lanes that loops have.
LANES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Instruction:
    """What rounds floats to int32, half to even.

    Attributes
    ----------
    lanes
        Floats that it takes.
    intrinsic
        LLVM's name.
    more
        What it is given beside them, for the declaration and for a call.
    """

    lanes: int
    intrinsic: str
    more: tuple[str, str] = ("", "")


FCVTNS = {
    lanes: Instruction(lanes, f"llvm.aarch64.neon.fcvtns.{name}")
    for lanes, name in ((1, "i32.f32"), (2, "v2i32.v2f32"), (4, "v4i32.v4f32"))
}
# They round as the machine is set: half to even. By the feature that has them.
CVTPS2DQ = {
    "sse2": Instruction(4, "llvm.x86.sse2.cvtps2dq"),
    "avx": Instruction(8, "llvm.x86.avx.cvt.ps2dq.256"),
    "avx512f": Instruction(
        16,
        "llvm.x86.avx512.mask.cvtps2dq.512",
        (", <16 x i32>, i16, i32", ", <16 x i32> zeroinitializer, i16 -1, i32 4"),
    ),
}


@dataclass(frozen=True)
class Requantization:
    """What ends a requantization (`requantize.py`): what is rounded, and how it becomes a byte.

    Attributes
    ----------
    value
        x.
    dtype
        `uint8` or `int8`.
    low, high
        The smallest and the largest byte.
    zero_point
        What is added.
    """

    value: Any
    dtype: str
    low: int
    high: int
    zero_point: int


def conversion(symbol: str, lanes: int, instruction: Instruction) -> str:
    """The definition of floats -> int32, rounded half to even."""
    floats, ints = _vector(lanes, "float"), _vector(lanes, "i32")
    declared, lines = _rounding(lanes, instruction)
    head = f'define {ints} @"{symbol}"({floats} %x) alwaysinline {{'
    return "\n".join([declared, head, *lines, f"  ret {ints} %r", "}", ""])


def _rounding(lanes: int, instruction: Instruction) -> tuple[str, list[str]]:
    """The declaration, and lines that round %x to %r, as many lanes at a time as there can be."""
    size = instruction.lanes
    floats, ints = _vector(size, "float"), _vector(size, "i32")
    declared = f"declare {ints} @{instruction.intrinsic}({floats}{instruction.more[0]})"

    def call(result: str, value: str) -> str:
        operands = f"{floats} {value}{instruction.more[1]}"
        return f"  {result} = call {ints} @{instruction.intrinsic}({operands})"

    if lanes == size:
        return declared, [call("%r", "%x")]
    lines, parts = [], []
    for first in range(0, lanes, size):
        whole = f"<{lanes} x float>"
        picked = _mask(range(first, first + size))
        lines.append(f"  %x{first} = shufflevector {whole} %x, {whole} poison, {picked}")
        lines.append(call(f"%p{first}", f"%x{first}"))
        parts.append(f"%p{first}")
    while len(parts) > 1:
        kind, joined = f"<{size} x i32>", _mask(range(2 * size))
        names = [f"%j{size}o{at}" for at in range(len(parts) // 2)] if len(parts) > 2 else ["%r"]
        for name, low, high in zip(names, parts[::2], parts[1::2], strict=True):
            lines.append(f"  {name} = shufflevector {kind} {low}, {kind} {high}, {joined}")
        parts, size = names, 2 * size
    return declared, lines


def _mask(picked: Iterable[int]) -> str:
    indices = [f"i32 {at}" for at in picked]
    return f"<{len(indices)} x i32> <{', '.join(indices)}>"


def requantization(symbol: str, chain: Requantization, lanes: int, instruction: Instruction) -> str:
    """The definition of floats -> bytes: `fcvtns`, `sqxtn`, `sqadd`, `sqxtn` or `sqxtun`."""
    rounding, lines = _rounding(lanes, instruction)
    # The instructions take eight lanes.
    count = max(lanes, 2 * NEON)
    halves = f"<{count} x i16>"
    declared = {rounding}
    lines += _clamped("%h", "%r", lanes, "i32", _HALVES)
    lines.append(f"  %n = trunc <{lanes} x i32> %h to <{lanes} x i16>")
    lines.append(_resized("%w", "%n", "i16", lanes, count))
    added = "%w"
    if chain.zero_point:
        saturates = f"llvm.sadd.sat.v{count}i16"
        declared.add(f"declare {halves} @{saturates}({halves}, {halves})")
        constant = f"splat (i16 {chain.zero_point})"
        lines.append(f"  %z = call {halves} @{saturates}({halves} %w, {halves} {constant})")
        added = "%z"
    for declarations, more in (_bytes(added, chain.dtype, lanes, count), _within(chain, count)):
        declared |= declarations
        lines += more
    lines.append(_resized("%q", "%u", "i8", count, lanes))
    kind = f"<{lanes} x i8>"
    head = f'define {kind} @"{symbol}"(<{lanes} x float> %x) alwaysinline {{'
    return "\n".join([*sorted(declared), head, *lines, f"  ret {kind} %q", "}", ""])


def _bytes(value: str, dtype: str, lanes: int, count: int) -> tuple[set[str], list[str]]:
    """Declarations and lines that narrow `value`, of int16, to %s."""
    halves, small = f"<{count} x i16>", f"<{count} x i8>"
    if lanes > NEON:
        clamped = _clamped("%c", value, count, "i16", LIMITS[dtype])
        return set(), [*clamped, f"  %s = trunc {halves} %c to {small}"]
    # LLVM, which sees that half of the lanes are nothing, would write other instructions.
    narrows = f"llvm.aarch64.neon.{'sqxtn' if dtype == 'int8' else 'sqxtun'}.v8i8"
    declared = {f"declare {small} @{narrows}({halves})"}
    return declared, [f"  %s = call {small} @{narrows}({halves} {value})"]


def _within(chain: Requantization, count: int) -> tuple[set[str], list[str]]:
    """Declarations and lines that bring the bytes %s into narrower bounds, as %u."""
    small, sign = f"<{count} x i8>", "s" if chain.dtype == "int8" else "u"
    declared: set[str] = set()
    lines: list[str] = []
    low, high = LIMITS[chain.dtype]
    result = "%s"
    for name, bound, limit in (("max", chain.low, low), ("min", chain.high, high)):
        if bound != limit:
            function = f"llvm.{sign}{name}.v{count}i8"
            declared.add(f"declare {small} @{function}({small}, {small})")
            call = f"call {small} @{function}({small} {result}, {small} splat (i8 {bound}))"
            result = f"%{name}"
            lines.append(f"  {result} = {call}")
    return declared, [*lines, _resized("%u", result, "i8", count, count)]


def _resized(result: str, value: str, element: str, lanes: int, count: int) -> str:
    """A line that makes a vector of `count` lanes of one of `lanes`."""
    indices = [f"i32 {at}" if at < lanes else "i32 poison" for at in range(count)]
    kind, mask = f"<{lanes} x {element}>", f"<{count} x i32> <{', '.join(indices)}>"
    return f"  {result} = shufflevector {kind} {value}, {kind} poison, {mask}"


def _clamped(
    result: str, value: str, lanes: int, element: str, limits: tuple[int, int]
) -> list[str]:
    """Lines that bring a vector into `limits`: with the truncation behind, one instruction."""
    kind = f"<{lanes} x {element}>"
    low, high = (f"splat ({element} {limit})" for limit in limits)
    return [
        f"  {result}a = icmp slt {kind} {value}, {high}",
        f"  {result}b = select <{lanes} x i1> {result}a, {kind} {value}, {kind} {high}",
        f"  {result}c = icmp sgt {kind} {result}b, {low}",
        f"  {result} = select <{lanes} x i1> {result}c, {kind} {result}b, {kind} {low}",
    ]


def _vector(lanes: int, element: str) -> str:
    return f"<{lanes} x {element}>" if lanes > 1 else element
