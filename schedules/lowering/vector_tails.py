"""Keep vectorised loops vectors where a condition differs from lane to lane.

Such a condition comes from a split that does not divide, from padding, or from a concatenation
(`i * 16 + lane < n`); TVM takes the whole loop apart into scalars then. Here the loop becomes

    if the condition holds in every lane:   vectors, the condition true
    else if it holds in no lane:            vectors, the condition false
    else:                                   the lanes of either kind, in vectors of halves

Where the lanes change sides is known if every other term of the index is a multiple of the lanes;
where it is not, the rest runs as a serial loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# Conditions of one loop that are told apart; each may triple the code.
_MOST_BOUNDS = 3


@dataclass(frozen=True)
class _Bound:
    """A comparison that is linear in the lane: `rest + slope * lane > 0`.

    Attributes
    ----------
    comparison
        The expression, as it stands in the loop.
    rest
        Its part without the lane, an integer expression.
    slope
        What a lane adds.
    """

    comparison: Any
    rest: Any
    slope: int

    def everywhere(self, lanes: int) -> Any:
        """The condition for it to hold in every lane: in the worst one."""
        return self.rest + min(0, self.slope * (lanes - 1)) > 0

    def somewhere(self, lanes: int) -> Any:
        """The condition for it to hold in any lane: in the best one."""
        return self.rest + max(0, self.slope * (lanes - 1)) > 0

    def change(self, lanes: int) -> int | None:
        """The first lane on the other side where both sides occur; None if it is not constant."""
        from tvm import sym

        if self.slope not in (1, -1):
            return None
        first = self.rest if self.slope < 0 else 1 - self.rest
        modular: Any = sym.Analyzer().modular_set(first)
        return int(modular.base) % lanes if int(modular.coeff) % lanes == 0 else None


def split_vector_tails() -> Any:
    """The pass, for kernels whose blocks are lowered and whose loops are not yet vectors."""
    from tvm import s_tir, tirx, transform

    split = tirx.transform.prim_func_pass(_split, opt_level=0, name="autoglm.SplitVectorTails")
    # The copies of a loop get variables of their own.
    return transform.Sequential([split, s_tir.transform.ConvertSSA()])


def _split(function: Any, _module: Any, _context: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    def split(loop: Any) -> Any:
        if loop.kind != tirx.ForKind.VECTORIZED or not isinstance(loop.extent, tirx.IntImm):
            return loop
        return _split_loop(loop)

    return function.with_body(tvm_ffi.structural_map(function.body, (tirx.For, split)))


def _split_loop(loop: Any) -> Any:
    """Tell the conditions of a loop apart; the loop itself where that cannot be done."""
    comparisons = _comparisons(loop)
    bounds = [_bound(comparison, loop.loop_var) for comparison in comparisons]
    known = [bound for bound in bounds if bound is not None]
    if not known or len(known) < len(bounds) or len(known) > _MOST_BOUNDS:
        return loop
    return _cases(loop, known[0], int(loop.extent))


def _cases(loop: Any, bound: _Bound, lanes: int) -> Any:
    from tvm import tirx

    true = _split_loop(_assume(loop, bound, True))
    false = _assume(loop, bound, False)
    false = None if _is_empty(false) else _split_loop(false)
    change = bound.change(lanes)
    if change is None:
        # The serial loop keeps its conditions and needs no others.
        rest = _with_kind(loop, tirx.ForKind.SERIAL)
        return tirx.IfThenElse(bound.everywhere(lanes), true, rest)
    if change:
        first, second = (True, False) if bound.slope < 0 else (False, True)
        mixed = _sequence(
            [
                *_pieces(loop, bound, first, 0, change),
                *_pieces(loop, bound, second, change, lanes),
            ]
        )
        false = _branch(bound.somewhere(lanes), mixed, false)
    return _branch(bound.everywhere(lanes), true, false)


def _pieces(loop: Any, bound: _Bound, truth: bool, start: int, stop: int) -> list[Any]:
    """Run the lanes from `start` to `stop`, on one side of the bound, in powers of two."""
    from tvm import tirx

    body = _assume(loop, bound, truth).body
    if _is_empty(body):
        return []
    pieces = []
    while start < stop:
        lanes = 1 << ((stop - start).bit_length() - 1)
        if lanes == 1:
            value = tirx.IntImm(str(loop.loop_var.ty.dtype), start)
            pieces.append(_substitute(body, loop.loop_var, value))
        else:
            shifted = _substitute(body, loop.loop_var, loop.loop_var + start)
            extent = tirx.IntImm(str(loop.extent.ty.dtype), lanes)
            piece = tirx.For(loop.loop_var, loop.min, extent, loop.kind, shifted)
            pieces.append(_split_loop(piece))
        start += lanes
    return pieces


def _comparisons(loop: Any) -> list[Any]:
    """The different comparisons in conditions of the loop that depend on its lane."""
    import tvm_ffi
    from tvm import ir, tirx

    conditions: list[Any] = []

    def visit_call(call: Any) -> None:
        if getattr(call.op, "name", "") == "prim.if_then_else":
            conditions.append(call.args[0])

    tvm_ffi.structural_walk(
        loop.body,
        [
            (tirx.IfThenElse, lambda branch: conditions.append(branch.condition)),
            (ir.Call, visit_call),
        ],
    )
    found: list[Any] = []

    def visit(comparison: Any) -> None:
        new = not any(tvm_ffi.structural_equal(comparison, other) for other in found)
        if new and _uses(comparison, loop.loop_var):
            found.append(comparison)

    for condition in conditions:
        kinds = (tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.EQ, tirx.NE)
        tvm_ffi.structural_walk(condition, [(kinds, visit)])
    return found


def _bound(comparison: Any, lane: Any) -> _Bound | None:
    """The comparison as a bound that is linear in the lane; None if it is something else."""
    from tvm import sym, tirx

    if not str(comparison.a.ty.dtype).startswith("int"):
        return None
    a, b = comparison.a, comparison.b
    differences = {tirx.LT: b - a, tirx.LE: b - a + 1, tirx.GT: a - b, tirx.GE: a - b + 1}
    difference = differences.get(type(comparison))
    if difference is None:
        return None
    parts = sym.detect_linear_equation(difference, [lane])
    if len(parts) != 2 or not isinstance(parts[0], tirx.IntImm):
        return None
    return _Bound(comparison, parts[1], int(parts[0]))


def _assume(loop: Any, bound: _Bound, truth: bool) -> Any:
    """The loop with the comparison replaced by its value, and conditions folded."""
    import tvm_ffi
    from tvm import ir, tirx

    value = tirx.const(truth, "bool")
    kind = type(bound.comparison)

    def replace(node: Any) -> Any:
        return value if tvm_ffi.structural_equal(node, bound.comparison) else node

    rules = [
        (kind, replace),
        (tirx.And, _fold_and),
        (tirx.Or, _fold_or),
        (tirx.Not, _fold_not),
        (ir.Call, _fold_call),
        (tirx.IfThenElse, _fold_branch),
    ]
    return tvm_ffi.structural_map(loop, rules)


def _truth(condition: Any) -> bool | None:
    from tvm import tirx

    return bool(condition.value) if isinstance(condition, tirx.IntImm) else None


def _fold_and(node: Any) -> Any:
    for one, other in ((node.a, node.b), (node.b, node.a)):
        if _truth(one) is not None:
            return other if _truth(one) else one
    return node


def _fold_or(node: Any) -> Any:
    for one, other in ((node.a, node.b), (node.b, node.a)):
        if _truth(one) is not None:
            return one if _truth(one) else other
    return node


def _fold_not(node: Any) -> Any:
    from tvm import tirx

    truth = _truth(node.a)
    return node if truth is None else tirx.const(not truth, "bool")


def _fold_call(node: Any) -> Any:
    if getattr(node.op, "name", "") != "prim.if_then_else" or _truth(node.args[0]) is None:
        return node
    return node.args[1] if _truth(node.args[0]) else node.args[2]


def _fold_branch(node: Any) -> Any:
    truth = _truth(node.condition)
    if truth is None:
        return node
    chosen = node.then_case if truth else node.else_case
    return _nothing() if chosen is None else chosen


def _branch(condition: Any, then: Any, otherwise: Any) -> Any:
    from tvm import tirx

    if otherwise is not None and not _is_empty(otherwise):
        return tirx.IfThenElse(condition, then, otherwise)
    return tirx.IfThenElse(condition, then, None)


def _nothing() -> Any:
    from tvm import tirx

    return tirx.Evaluate(tirx.const(0))


def _is_empty(statement: Any) -> bool:
    """Whether a statement, or what a loop repeats, does nothing."""
    from tvm import tirx

    if isinstance(statement, tirx.For):
        return _is_empty(statement.body)
    return isinstance(statement, tirx.Evaluate) and isinstance(statement.value, tirx.IntImm)


def _sequence(statements: list[Any]) -> Any:
    from tvm import tirx

    return tirx.stmt_seq(*statements) if statements else _nothing()


def _with_kind(loop: Any, kind: Any) -> Any:
    from tvm import tirx

    return tirx.For(loop.loop_var, loop.min, loop.extent, kind, loop.body)


def _substitute(statement: Any, variable: Any, value: Any) -> Any:
    import tvm_ffi
    from tvm import tirx

    def replace(node: Any) -> Any:
        return value if node.same_as(variable) else node

    return tvm_ffi.structural_map(statement, (tirx.Var, replace))


def _uses(expression: Any, variable: Any) -> bool:
    import tvm_ffi
    from tvm import tirx

    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (tirx.Var, found.append))
    return any(node.same_as(variable) for node in found)
