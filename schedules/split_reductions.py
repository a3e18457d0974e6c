"""Rewrite a reduction as a chain of reductions: of pieces, in lanes, of the lanes.

    for k in range(n):                      s += x[k]
becomes, with 16 lanes and no pieces,
    for lane in range(16), i in range(m):   a[lane] += if_then_else(i * 16 + lane < n, x[...], 0)
    for lane in range(4), i in range(4):    b[lane] += a[i * 4 + lane]
    for i in range(4):                      s += b[i]

TVM's `rfactor` would do it, but knows only reductions that it has registered (no maximum that
begins at minus infinity), and `compute_at` forgets the predicate of what it makes, so that a row
that does not divide is read beyond its end. `lowering.vector_tails` takes the condition out of the
vectors.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

from autoglm_tvm.schedules.kernel import constant


@dataclass(frozen=True)
class Cut:
    """How a reduction is split.

    Attributes
    ----------
    axes
        The innermost reduced axes of the block, which are one axis to every load: constant, and
        the last axes of the block.
    pieces
        Sums that one sum is made of, each of consecutive elements.
    widths
        Lanes of each step, from the first on; empty for none.
    pieces_first
        Whether the partial results have the piece as their first index rather than behind the kept
        ones.
    """

    axes: tuple[int, ...]
    pieces: int = 1
    widths: tuple[int, ...] = ()
    pieces_first: bool = False

    @property
    def splits(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.axes) and (self.pieces > 1 or bool(self.widths))

    def parts(self, name: str) -> list[str]:
        """Names of the blocks before the last one, which keeps its `name`."""
        count = len(self.widths) + (self.pieces > 1) if self.widths else int(self.pieces > 1)
        return [f"{name}_part{i}" for i in range(count)]


def split_reductions(function: Any, cuts: dict[str, Cut]) -> Any:
    """Return the kernel, whose loops no schedule has changed, with the named blocks split."""
    from tvm import s_tir, tirx

    root = function.body.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    statements: list[Any] = []
    buffers = list(root.alloc_buffers)
    for statement in nests:
        realize = _innermost(statement)
        cut = cuts.get(realize.block.name_hint) if realize is not None else None
        if realize is None or cut is None or not cut.splits:
            statements.append(statement)
            continue
        chain = _Chain(realize.block, cut)
        statements.extend(chain.nests())
        buffers.extend(chain.buffers)
    block = s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        tirx.stmt_seq(*statements),
        root.init,
        buffers,
        root.match_buffers,
        root.annotations,
    )
    realize = s_tir.SBlockRealize(function.body.iter_values, function.body.predicate, block)
    return function.with_body(realize)


def is_plain_reduction(statement: Any) -> bool:
    """Whether a block adds up (or multiplies, keeps the largest, ...) one number per element."""
    from tvm import tirx
    from tvm.ir import TensorLoad

    store, init = statement.body, statement.init
    if not isinstance(store, tirx.BufferStore) or not isinstance(init, tirx.BufferStore):
        return False
    kinds = (tirx.Add, tirx.Mul, tirx.Max, tirx.Min)
    if not isinstance(store.value, kinds) or not isinstance(store.value.a, TensorLoad):
        return False
    return store.value.a.source.same_as(store.buffer)


def _innermost(statement: Any) -> Any:
    from tvm import s_tir, tirx

    while isinstance(statement, tirx.For):
        statement = statement.body
    return statement if isinstance(statement, s_tir.SBlockRealize) else None


@dataclass
class _Chain:
    """The reductions that one block becomes.

    Attributes
    ----------
    block, cut
        The block and how it is split.
    buffers
        Partial results, made as the chain is.
    """

    block: Any
    cut: Cut
    buffers: list[Any] = field(default_factory=list)

    def nests(self) -> list[Any]:
        """The loop nests, in order."""
        names = [*self.cut.parts(self.block.name_hint), self.block.name_hint]
        nests = [self._first(names[0])]
        widths = list(self.cut.widths)
        for name in names[1:-1]:
            wide = widths.pop(0)
            nests.append(self._lanes(name, wide, widths[0] if widths else 1))
        return [*nests, self._last(names[-1])]

    def _first(self, name: str) -> Any:
        """Reduce the elements to the lanes of each piece."""
        cut = self.cut
        old = [self.block.iter_vars[axis] for axis in cut.axes]
        extents = [constant(axis.dom.extent) or 1 for axis in old]
        whole, lanes = prod(extents), (*cut.widths, 1)[0]
        steps = -(-whole // (cut.pieces * lanes))
        nest = _Nest(name, self.block)
        if cut.pieces_first:
            piece = nest.axis("piece", cut.pieces)
            kept = nest.axes(self._kept())
        else:
            kept = nest.axes(self._kept())
            piece = nest.axis("piece", cut.pieces)
        lane = nest.axis("lane", lanes)
        others = [axis for axis in self._reduced() if all(not axis.same_as(o) for o in old)]
        reduced = nest.axes(others, reduced=True)
        step = nest.axis("step", steps, reduced=True)
        flat = (piece * steps + step) * lanes + lane
        values = _values(self._kept(), kept) | _values(others, reduced)
        inner = whole
        for axis, extent in zip(old, extents, strict=True):
            inner //= extent
            index = flat // inner if inner > 1 else flat
            values[axis.var] = index if axis is old[0] else index % extent
        element = _substitute(self.block.body.value.b, values)
        if cut.pieces * lanes * steps > whole:
            from tvm import tirx

            element = tirx.if_then_else(flat < whole, element, self.block.init.value)
        reads = [_region(region, values, [axis.var for axis in old]) for region in self.block.reads]
        target = self._partial(name, kept, piece, lane, lanes)
        return nest.finish(target, element, reads)

    def _lanes(self, name: str, wide: int, lanes: int) -> Any:
        """Reduce `wide` lanes of each piece to fewer."""
        from tvm import tirx

        source = self.buffers[-1]
        nest = _Nest(name, self.block)
        kept = nest.axes(self._kept())
        piece = nest.axis("piece", self.cut.pieces)
        lane = nest.axis("lane", lanes)
        step = nest.axis("step", wide // lanes, reduced=True)
        at = self._indices(kept, piece, step * lanes + lane, wide)
        target = self._partial(name, kept, piece, lane, lanes)
        return nest.finish(target, tirx.BufferLoad(source, at), [_point(source, at)])

    def _last(self, name: str) -> Any:
        """Reduce the pieces, or the lanes of the only one."""
        from tvm import tirx

        source = self.buffers[-1]
        nest = _Nest(name, self.block)
        kept = nest.axes(self._kept())
        if self.cut.pieces > 1:
            piece = nest.axis("piece", self.cut.pieces, reduced=True)
            at = self._indices(kept, piece, None, 1)
        else:
            lane = nest.axis("lane", int(source.shape[-1]), reduced=True)
            at = self._indices(kept, None, lane, 2)
        values = _values(self._kept(), kept)
        indices = [_substitute(index, values) for index in self.block.body.indices]
        target = (self.block.body.buffer, indices)
        return nest.finish(target, tirx.BufferLoad(source, at), [_point(source, at)])

    def _partial(
        self, name: str, kept: list[Any], piece: Any, lane: Any, lanes: int
    ) -> tuple[Any, list[Any]]:
        """A new buffer for partial results, and the indices of an element."""
        from tvm import tirx

        extents = [axis.dom.extent for axis in self._kept()]
        shape = self._indices(extents, self.cut.pieces, lanes, lanes)
        buffer = tirx.decl_buffer(shape, self.block.body.buffer.dtype, name)
        self.buffers.append(buffer)
        return buffer, self._indices(kept, piece, lane, lanes)

    def _indices(self, kept: list[Any], piece: Any, lane: Any, lanes: int) -> list[Any]:
        """Put indices (or extents) in the order of the partial results; what is one has none."""
        behind = [lane] if lanes > 1 else []
        if self.cut.pieces == 1:
            return [*kept, *behind]
        if self.cut.pieces_first:
            return [piece, *kept, *behind]
        return [*kept, piece, *behind]

    def _kept(self) -> list[Any]:
        return [axis for axis in self.block.iter_vars if axis.iter_type == axis.DataPar]

    def _reduced(self) -> list[Any]:
        return [axis for axis in self.block.iter_vars if axis.iter_type != axis.DataPar]


class _Nest:
    """A loop nest around one block, as it is made."""

    def __init__(self, name: str, model: Any) -> None:
        """A reduction `name` of the kind of the block `model`."""
        self.name, self.model = name, model
        self.dtype = str(model.iter_vars[0].var.ty.dtype)
        self._axes: list[Any] = []

    def axes(self, like: list[Any], reduced: bool = False) -> list[Any]:
        """Axes of the same extents; returns their variables."""
        return [self.axis(axis.var.name, axis.dom.extent, reduced) for axis in like]

    def axis(self, name: str, extent: Any, reduced: bool = False) -> Any:
        """Another axis; returns its variable, or 0 where it keeps one iteration of our own."""
        from tvm import ir, tirx

        if isinstance(extent, int):
            if extent == 1 and not reduced:
                return tirx.const(0, self.dtype)
            extent = tirx.const(extent, self.dtype)
        variable = tirx.Var(name, self.dtype)
        kind = tirx.IterVar.CommReduce if reduced else tirx.IterVar.DataPar
        domain = ir.Range(tirx.const(0, self.dtype), extent)
        self._axes.append(tirx.IterVar(domain, variable, kind))
        return variable

    def finish(self, target: tuple[Any, list[Any]], element: Any, reads: list[Any]) -> Any:
        """The loops in which `element` is reduced into `target`, a buffer and indices."""
        from tvm import s_tir, tirx

        buffer, indices = target
        update = type(self.model.body.value)(tirx.BufferLoad(buffer, indices), element)
        block = s_tir.SBlock(
            self._axes,
            reads,
            [_point(buffer, indices)],
            self.name,
            tirx.BufferStore(buffer, update, indices),
            tirx.BufferStore(buffer, self.model.init.value, indices),
        )
        loops: list[Any] = [tirx.Var(axis.var.name, self.dtype) for axis in self._axes]
        statement: Any = s_tir.SBlockRealize(loops, tirx.const(True, "bool"), block)
        for loop, axis in zip(reversed(loops), reversed(self._axes), strict=True):
            statement = tirx.For(
                loop, axis.dom.min, axis.dom.extent, tirx.ForKind.SERIAL, statement
            )
        return statement


def _values(axes: list[Any], variables: list[Any]) -> dict[Any, Any]:
    return {axis.var: variable for axis, variable in zip(axes, variables, strict=True)}


def _point(buffer: Any, indices: list[Any]) -> Any:
    """The region of one element."""
    from tvm import ir, tirx

    ranges = [ir.Range.from_min_extent(index, tirx.const(1, _dtype(index))) for index in indices]
    return tirx.BufferRegion(buffer, ranges)


def _region(region: Any, values: dict[Any, Any], whole: list[Any]) -> Any:
    """The region for other variables; whole where an index depends on one of the variables."""
    import tvm_ffi
    from tvm import ir, tirx

    def uses(expression: Any) -> bool:
        found: list[Any] = []
        tvm_ffi.structural_walk(expression, (tirx.Var, found.append))
        return any(node.same_as(variable) for node in found for variable in whole)

    ranges = []
    for item, extent in zip(region.region, region.source.shape, strict=True):
        if uses(item.min):
            ranges.append(ir.Range(tirx.const(0, _dtype(extent)), extent))
        else:
            start = _substitute(item.min, values)
            ranges.append(ir.Range.from_min_extent(start, item.extent))
    return tirx.BufferRegion(region.source, ranges)


def _substitute(statement: Any, values: dict[Any, Any]) -> Any:
    import tvm_ffi
    from tvm import tirx

    def replace(node: Any) -> Any:
        return next((value for old, value in values.items() if node.same_as(old)), node)

    return tvm_ffi.structural_map(statement, (tirx.Var, replace))


def _dtype(value: Any) -> str:
    return str(value.ty.dtype)
