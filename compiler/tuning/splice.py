"""Exchange the anchor of a fused kernel for the same operator, lowered otherwise.

A register tile decides how a weight is packed, so it is fixed before operators are fused. To try
another one, the loop nests of the anchor and its weight are taken out of the fused kernel and
others put in their place; what was fused behind it stays. The result is what `optimise` makes of
the graph with this configuration, without lowering the graph again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from autoglm_tvm.schedules.choices import Anchor, Config, Lowering

if TYPE_CHECKING:
    import numpy as np


def splice(
    function: Any, anchor: Anchor, config: Config
) -> tuple[Any, tuple[int, np.ndarray] | None]:
    """Return the kernel with its anchor lowered as `config` says, and its weight.

    Parameters
    ----------
    function
        The unscheduled kernel with its anchor lowered by default.
    anchor
        Its operator.
    config
        What to choose.

    Returns
    -------
    function
        The kernel; only the shape of the weight differs from before.
    weight
        Position among the parameters, and the newly packed array; None where nothing is packed.

    Raises
    ------
    ValueError
        The kernel was not made of this anchor.
    """
    lowering = anchor.lower(config)
    if lowering.function is not None:
        return lowering.function.with_attrs(function.attrs), None
    old = _function(anchor, anchor.lower({}))
    new = _function(anchor, lowering)
    names = _match(old, function)
    return _replace(function, old, new, names, lowering)


def _function(anchor: Anchor, lowering: Lowering) -> Any:
    """The anchor alone: its operands, its weight, its result."""
    from tvm import te

    operands: list[Any] = [
        te.placeholder(shape, dtype, f"operand{at}")
        for at, (shape, dtype) in enumerate(anchor.operands)
    ]
    if lowering.weight is not None:
        weight = lowering.weight
        operands.append(te.placeholder(weight.shape, str(weight.dtype), "weight"))
    assert lowering.body is not None
    # As the graph makes them: with indices of 64 bits.
    return te.create_prim_func([*operands, lowering.body(*operands)], "int64")


def _match(old: Any, fused: Any) -> dict[Any, Any]:
    """The buffer of the fused kernel for each buffer of the anchor alone."""
    theirs = {block.name_hint: block for block in _blocks(fused)}
    found: dict[Any, Any] = {}
    for block in _blocks(old):
        other = theirs.get(block.name_hint)
        regions = [*block.reads, *block.writes]
        if other is None or len(regions) != len([*other.reads, *other.writes]):
            raise ValueError(f"the kernel has no block {block.name_hint} of this anchor")
        for ours, match in zip(regions, [*other.reads, *other.writes], strict=True):
            found[ours.source] = match.source
    return found


def _replace(
    fused: Any, old: Any, new: Any, found: dict[Any, Any], lowering: Lowering
) -> tuple[Any, tuple[int, np.ndarray] | None]:
    import tvm_ffi
    from tvm import s_tir, tirx

    packed = lowering.weight is not None
    *old_operands, old_result = old.params
    *new_operands, new_result = new.params
    outside = {new_result: found[old_result]}
    shared = len(old_operands) - packed
    for before, after in zip(old_operands[:shared], new_operands[:shared], strict=True):
        outside[after] = found[before]
    weight = new_operands[-1] if packed else None

    body = tvm_ffi.structural_map(_root(new).body, (tirx.Var, lambda var: outside.get(var, var)))
    theirs = {block.name_hint for block in _blocks(old)}
    nests, placed = [], False
    for nest in _statements(_root(fused).body):
        if _names(nest) & theirs:
            if not placed:
                nests += _statements(body)
                placed = True
        else:
            nests.append(nest)
    inner = {found[buffer] for buffer in _root(old).alloc_buffers}
    kept = [buffer for buffer in _root(fused).alloc_buffers if buffer not in inner]
    root = s_tir.SBlock(
        [], [], [], "root", tirx.SeqStmt(nests), None, [*_root(new).alloc_buffers, *kept], [], {}
    )
    true = tirx.const(True, "bool")
    params = list(fused.params)
    position = -1
    if weight is not None:
        position = next(i for i, p in enumerate(params) if p.same_as(found[old_operands[-1]]))
        params[position] = weight
    result = tirx.PrimFunc(params, s_tir.SBlockRealize([], true, root), fused.ret_type, fused.attrs)
    if lowering.weight is None:
        return result, None
    return result, (position, lowering.weight)


def _root(function: Any) -> Any:
    return function.body.block


def _statements(body: Any) -> list[Any]:
    from tvm import tirx

    return list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]


def _blocks(function: Any) -> list[Any]:
    """The blocks of a kernel, the root left out."""
    import tvm_ffi
    from tvm import s_tir

    found: list[Any] = []
    tvm_ffi.structural_walk(_root(function).body, (s_tir.SBlock, found.append))
    return found


def _names(statement: Any) -> set[str]:
    import tvm_ffi
    from tvm import s_tir

    names: set[str] = set()
    tvm_ffi.structural_walk(statement, (s_tir.SBlock, lambda block: names.add(block.name_hint)))
    return names
