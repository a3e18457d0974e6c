"""What fusion put behind an operator: what can be computed on its tile, and what cannot."""

from __future__ import annotations

from dataclasses import dataclass

from autoglm_tvm.schedules.kernel import Block, Kernel


@dataclass(frozen=True)
class Epilogue:
    """The elementwise steps behind an operator.

    Attributes
    ----------
    inlined
        Blocks, the operator's own unpacking among them, that are computed inside `last`.
    last
        The block that stores the result of the tile.
    rest
        Blocks behind it that have another shape, each a loop nest of its own.
    """

    inlined: tuple[Block, ...]
    last: Block
    rest: tuple[Block, ...]


def split_epilogue(kernel: Kernel, result: Block) -> Epilogue:
    """Follow the steps behind `result` as long as they are elementwise and of its shape.

    A step that another one behind `last` needs as well cannot be inlined; then the chain ends
    earlier.
    """
    behind = kernel.blocks[kernel.blocks.index(result) :]
    for end in range(len(behind), 0, -1):
        chain, rest = behind[:end], behind[end:]
        if all(_fits(block, result) for block in chain) and _closed(kernel, chain, rest):
            return Epilogue(tuple(chain[:-1]), chain[-1], tuple(rest))
    return Epilogue((), result, tuple(behind[1:]))


def _fits(block: Block, result: Block) -> bool:
    return block.is_spatial and block.spatial == result.spatial


def _closed(kernel: Kernel, chain: list[Block], rest: list[Block]) -> bool:
    """Whether nothing outside of the chain reads a step of it but the last."""
    names = {block.name for block in rest}
    return not any(
        consumer.name in names for block in chain[:-1] for consumer in kernel.consumers(block)
    )
