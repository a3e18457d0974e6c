"""Four bytes as one word, lane by lane: [a0 b0 c0 d0, a1 b1 c1 d1, ...].

What a dot product needs whose terms do not lie next to each other in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

_BYTES = 4
# Words that `vpermb` makes.
_PERMUTED = 16


def interleaved_bytes(symbol: str, lanes: int, *, arm: bool, permutes: bool) -> str:
    """Return the LLVM definition of four vectors of bytes -> words.

    Parameters
    ----------
    symbol
        The function's name.
    lanes
        Of the words.
    arm
        Whether it is for NEON, where LLVM makes one `st4` of a shuffle of four vectors that is
        stored. Elsewhere pairs are made first (`punpcklbw`, `punpcklwd`).
    permutes
        Whether AVX-512 has `vpermb`, which makes 16 words at once. LLVM, which knows what it does,
        would take it apart into eleven instructions.
    """
    narrow, words = _vector(lanes, "i8"), _vector(lanes, "i32")
    parameters = ", ".join(f"{narrow} %{name}" for name in "abcd")
    head = f'define {words} @"{symbol}"({parameters}) alwaysinline {{'
    if lanes == 1:
        lines = _scalar()
    elif arm:
        lines = _at_once(lanes)
    else:
        lines = _permutation(lanes) if permutes and lanes == _PERMUTED else _by_pairs(lanes)
    return "\n".join([head, *lines, f"  ret {words} %r", "}", ""])


def _scalar() -> list[str]:
    lines = []
    for at, name in enumerate("abcd"):
        lines.append(f"  %w{name} = zext i8 %{name} to i32")
        lines.append(f"  %s{name} = shl i32 %w{name}, {8 * at}")
    lines.append("  %ab = or i32 %sa, %sb")
    lines.append("  %cd = or i32 %sc, %sd")
    return [*lines, "  %r = or i32 %ab, %cd"]


def _by_pairs(lanes: int) -> list[str]:
    """Pairs of bytes first, then pairs of pairs."""
    halves = f"<{2 * lanes} x i8>"
    lines = [
        _shuffle("%ab", "i8", lanes, "%a", "%b", _alternating(lanes)),
        _shuffle("%cd", "i8", lanes, "%c", "%d", _alternating(lanes)),
    ]
    lines += [f"  %{pair}w = bitcast {halves} %{pair} to <{lanes} x i16>" for pair in ("ab", "cd")]
    lines.append(_shuffle("%all", "i16", lanes, "%abw", "%cdw", _alternating(lanes)))
    return [*lines, f"  %r = bitcast <{2 * lanes} x i16> %all to {_vector(lanes, 'i32')}"]


def _at_once(lanes: int) -> list[str]:
    """One shuffle of all bytes."""
    order = _order(lanes)
    lines = [*_joined(lanes), _shuffle("%all", "i8", 2 * lanes, "%ab", "%cd", order)]
    return [*lines, f"  %r = bitcast <{len(order)} x i8> %all to {_vector(lanes, 'i32')}"]


def _permutation(lanes: int) -> list[str]:
    """All bytes in one vector, and one permutation of it."""
    four = f"<{_BYTES * lanes} x i8>"
    indices = ", ".join(f"i8 {index}" for index in _order(lanes))
    code = f'asm "vpermb $1, $2, $0", "=v,v,v"({four} %all, {four} <{indices}>)'
    return [
        *_joined(lanes),
        _shuffle("%all", "i8", 2 * lanes, "%ab", "%cd", range(_BYTES * lanes)),
        f"  %words = call {four} {code}",
        f"  %r = bitcast {four} %words to {_vector(lanes, 'i32')}",
    ]


def _joined(lanes: int) -> list[str]:
    """Each two vectors one behind the other."""
    return [
        _shuffle(f"%{first}{second}", "i8", lanes, f"%{first}", f"%{second}", range(2 * lanes))
        for first, second in ("ab", "cd")
    ]


def _order(lanes: int) -> list[int]:
    """Where the bytes of the words are among those of the four vectors."""
    return [part * lanes + lane for lane in range(lanes) for part in range(_BYTES)]


def _alternating(lanes: int) -> list[int]:
    return [part * lanes + lane for lane in range(lanes) for part in range(2)]


def _shuffle(
    result: str, element: str, lanes: int, first: str, second: str, order: Iterable[int]
) -> str:
    kind = f"<{lanes} x {element}>"
    mask = [f"i32 {index}" for index in order]
    picked = f"<{len(mask)} x i32> <{', '.join(mask)}>"
    return f"  {result} = shufflevector {kind} {first}, {kind} {second}, {picked}"


def _vector(lanes: int, element: str) -> str:
    return f"<{lanes} x {element}>" if lanes > 1 else element
