"""A kernel as the rules see it: a schedule to change, and its blocks with their loops described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

# What a symbolic extent counts as.
_MANY = 1 << 10


@dataclass(frozen=True)
class Block:
    """One computation of a kernel, all of whose loops are its own before scheduling.

    Attributes
    ----------
    name
        Its name in the kernel.
    handle
        What the schedule knows it by (`SBlockRV`).
    statement
        The TIR block: `iter_vars`, `reads`, `writes`, `init`, `annotations`.
    spatial, reduced
        Extents of its data-parallel and its reduction axes, in order; None where symbolic.
    """

    name: str
    handle: Any
    statement: Any
    spatial: tuple[int | None, ...]
    reduced: tuple[int | None, ...]

    @property
    def is_spatial(self) -> bool:
        """Whether it reduces nothing."""
        return not self.reduced

    @property
    def iterations(self) -> int:
        """How often it runs in all; a symbolic extent counts as many."""
        extents = (*self.spatial, *self.reduced)
        return prod(_MANY if extent is None else extent for extent in extents)

    @property
    def annotations(self) -> dict[str, Any]:
        """What whoever made the block wrote on it (`attrs` of `te.compute`)."""
        return dict(self.statement.annotations)

    @property
    def dtype(self) -> str:
        """Element type of what it writes."""
        return str(self.statement.writes[0].source.dtype)


class Kernel:
    """A kernel to be scheduled.

    Attributes
    ----------
    schedule
        `tvm.s_tir.Schedule` of the kernel; rules change it in place.
    blocks
        Its blocks in order, the root left out.
    config
        What tuning chose for it, by the name of the knob; a rule decides the rest itself.
    """

    def __init__(
        self, function: Any, config: Mapping[str, Any] | None = None, *, checked: bool = True
    ) -> None:
        """Analyse `function`; TVM's error where schedules cannot describe it (sorting).

        `checked` is whether primitives prove first that they are right. TVM cannot prove anything
        of tiles of a symbolic size: a rule that knows better leaves the proof out.
        """
        from tvm import s_tir

        self.config = dict(config or {})
        # "detail" prints the whole kernel into the message of an error.
        self.schedule: Any = s_tir.Schedule(
            function, error_render_level="fast", enable_check=checked
        )
        root = self.schedule.get_sblock("root")
        self.blocks = [self._block(handle) for handle in self.schedule.get_child_blocks(root)]

    def block(self, annotation: str) -> Block | None:
        """The first block with `annotation`, if there is one."""
        return next((block for block in self.blocks if annotation in block.annotations), None)

    def marked(self, annotation: str, value: str) -> Block | None:
        """The first block whose `annotation` is `value`, if there is one."""
        return next((b for b in self.blocks if b.annotations.get(annotation) == value), None)

    def named(self, block: Block) -> Block:
        """The block of the same name in the kernel as it is now."""
        return next(other for other in self.blocks if other.name == block.name)

    def restart(self, function: Any, *, checked: bool = True) -> None:
        """Go on with another form of the kernel; finds the blocks anew."""
        self.__init__(function, self.config, checked=checked)

    def simplify(self) -> None:
        """Simplify the index arithmetic that primitives left behind; finds the blocks anew."""
        from tvm import s_tir

        simplified = s_tir.transform.StmtSimplify()(self.schedule.mod)
        self.restart(simplified["main"])

    def consumers(self, block: Block) -> list[Block]:
        """The blocks that read what `block` writes."""
        handles = self.schedule.get_consumers(block.handle)
        readers = {self.schedule.get(handle).name_hint for handle in handles}
        return [other for other in self.blocks if other.name in readers]

    def _block(self, handle: Any) -> Block:
        statement = self.schedule.get(handle)
        spatial, reduced = [], []
        for axis in statement.iter_vars:
            extents = spatial if axis.iter_type == axis.DataPar else reduced
            extents.append(constant(axis.dom.extent))
        return Block(statement.name_hint, handle, statement, tuple(spatial), tuple(reduced))


def constant(extent: Any) -> int | None:
    """The value of a loop's extent; None where it is symbolic."""
    from tvm import tirx

    return int(extent) if isinstance(extent, (int, tirx.IntImm)) else None
