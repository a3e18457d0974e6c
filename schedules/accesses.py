"""Where a block's loads and its store go in memory as each of its axes advances by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Access:
    """One load or store.

    Attributes
    ----------
    buffer
        The buffer it goes to.
    dtype
        Type of the element.
    strides
        For each axis of the block the elements by which the address moves; None where the step is
        not constant (a gather, a remainder, a symbolic size).
    """

    buffer: Any
    dtype: str
    strides: tuple[int | None, ...]

    def moves_by(self, axis: int, *steps: int) -> bool:
        """Whether the address moves by one of `steps` along `axis`."""
        return self.strides[axis] in steps


@dataclass(frozen=True)
class Accesses:
    """Everything a block reads and what it writes, its accumulator left out of the reads."""

    store: Access
    loads: tuple[Access, ...]

    def merges(self, outer: int, inner: int, extent: int | None) -> bool:
        """Whether axes `outer` and `inner` (of `extent`) are one axis to every access."""
        if extent is None:
            return False
        steps = [(access.strides[outer], access.strides[inner]) for access in self.all]
        return all(step is not None and whole == step * extent for whole, step in steps)

    @property
    def all(self) -> tuple[Access, ...]:
        """The store and then the loads."""
        return (self.store, *self.loads)


def accesses_of(statement: Any) -> Accesses | None:
    """The accesses of a TIR block (`SBlock`); None unless all it does is to store one element."""
    import tvm_ffi
    from tvm import sym, tirx
    from tvm.ir import TensorLoad

    if not isinstance(statement.body, tirx.BufferStore):
        return None
    analyzer = sym.Analyzer()
    axes = [axis.var for axis in statement.iter_vars]
    for axis in statement.iter_vars:
        analyzer.bind(axis.var, axis.dom)

    def access(buffer: Any, indices: Any) -> Access:
        address = _address(buffer, indices)
        address = analyzer.canonical_simplify(address)
        return Access(buffer, str(buffer.dtype), tuple(_stride(address, axis) for axis in axes))

    loads: list[Access] = []

    def visit(load: Any) -> None:
        loads.append(access(load.source, load.indices))

    tvm_ffi.structural_walk(statement.body, (TensorLoad, visit))
    store = access(statement.body.buffer, statement.body.indices)
    return Accesses(store, tuple(load for load in loads if not load.buffer.same_as(store.buffer)))


def _address(buffer: Any, indices: Any) -> Any:
    address: Any = 0
    for extent, index in zip(buffer.shape, indices, strict=True):
        address = address * extent + index
    return address


def _stride(address: Any, axis: Any) -> int | None:
    from tvm import sym, tirx

    parts = sym.detect_linear_equation(address, [axis])
    if len(parts) != 2:
        return None
    return int(parts[0]) if isinstance(parts[0], tirx.IntImm) else None
