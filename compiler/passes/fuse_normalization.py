"""Make one operator of a layer norm or an RMS norm that the graph spells out.

    d = x - mean(x); d / sqrt(mean(d^2) + epsilon) * gain + shift   =>   layer_norm(x, gain, shift)
    x / sqrt(mean(x^2) + epsilon) * gain                            =>   rms_norm(x, gain)

over the last axis; the square may be a power or a product, the quotient a product with 1 / sqrt. A
chain of which anything else reads a part stays as it is. Differs from the chain by rounding only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.passes.dataflow import Dataflow, constant_number, operator_of

if TYPE_CHECKING:
    from tvm import IRModule


@dataclass(frozen=True)
class Norm:
    """A normalisation that was found.

    Attributes
    ----------
    call
        The last call of the chain.
    x, gain
        What is normalised, and the factors of one row.
    shift
        What is added; None in an RMS norm.
    centred
        Whether the mean is subtracted first.
    epsilon
        What is added to the mean of the squares.
    """

    call: Any
    x: Any
    gain: Any
    shift: Any
    centred: bool
    epsilon: float


def fuse_normalization(module: IRModule) -> IRModule:
    """Return the module with an operator in place of each chain in ``main``."""
    from tvm import relax
    from tvm.relax.expr_functor import PyExprMutator, mutator

    main = module["main"]
    graph = Dataflow(main)
    found: dict[Any, Norm] = {}
    # Backwards: what a layer norm ends with is no RMS norm of its own.
    taken: set[Any] = set()
    for variable in reversed(graph.variables):
        match = None if variable in taken else _Chain(graph, variable)
        norm = match.norm() if match is not None else None
        if match is not None and norm is not None:
            found[norm.call] = norm
            taken |= match.parts
    if not found:
        return module

    @mutator
    class Fuse(PyExprMutator):
        """Replaces the last call of each chain; what it read before is dead code then."""

        def visit_call_(self, op: Any) -> Any:
            norm = found.get(op)
            if norm is None:
                return self.visit_expr_post_order(op)
            x, gain = self.visit_expr(norm.x), self.visit_expr(norm.gain)
            if not norm.centred:
                return relax.op.nn.rms_norm(x, gain, axes=[-1], epsilon=norm.epsilon)
            shift = self.visit_expr(norm.shift)
            return relax.op.nn.layer_norm(x, gain, shift, axes=[-1], epsilon=norm.epsilon)

    fuse: Any = Fuse(module)
    module.update_func(module.get_global_var("main"), fuse.visit_expr(main))
    return relax.transform.DeadCodeElimination(["main"])(module)


@dataclass
class _Chain:
    """One attempt to read a chain backwards from its last variable.

    Attributes
    ----------
    graph, last
        The graph, and the variable that the chain ends with.
    parts
        The variables of the chain, as they are found.
    """

    graph: Dataflow
    last: Any
    parts: set[Any] = field(default_factory=set)

    def norm(self) -> Norm | None:
        """The normalisation, if it is one and nothing else reads a part of it."""
        from tvm import relax

        scaled, shift = self.last, None
        added = self._operands(self.last, "relax.add")
        if added is not None:
            pair = self._vector_and_rest(added, self.last)
            if pair is None:
                return None
            shift, scaled = pair
        factors = self._operands(scaled, "relax.multiply")
        pair = self._vector_and_rest(factors, self.last) if factors is not None else None
        if pair is None:
            return None
        gain, normalised = pair
        quotient = self._quotient(normalised)
        if quotient is None:
            return None
        numerator, epsilon, squared = quotient
        x = self._deviation_of(numerator, squared)
        centred = x is not None
        if not centred:
            if shift is not None or not self._same(numerator, squared):
                return None
            x = numerator
        if not self._closed():
            return None
        call = self.graph.definition(self.last)
        if centred and shift is None:
            shift = relax.op.zeros_like(gain)
        return Norm(call, x, gain, shift, centred, epsilon)

    def _quotient(self, value: Any) -> tuple[Any, float, Any] | None:
        """Of a / sqrt(mean(b^2) + epsilon): a, epsilon and b."""
        divided = self._operands(value, "relax.divide")
        if divided is not None:
            inside = self._root(divided[1])
            return None if inside is None else (divided[0], *inside)
        for a, b in _orders(self._operands(value, "relax.multiply")):
            inside = self._inverse_root(b)
            if inside is not None:
                return (a, *inside)
        return None

    def _inverse_root(self, value: Any) -> tuple[float, Any] | None:
        inverse = self._operands(value, "relax.rsqrt")
        if inverse is not None:
            return self._mean_of_squares(inverse[0])
        divided = self._operands(value, "relax.divide")
        if divided is None or constant_number(self.graph.definition(divided[0])) != 1:
            return None
        return self._root(divided[1])

    def _root(self, value: Any) -> tuple[float, Any] | None:
        root = self._operands(value, "relax.sqrt")
        return None if root is None else self._mean_of_squares(root[0])

    def _mean_of_squares(self, value: Any) -> tuple[float, Any] | None:
        """Of mean(b^2) + epsilon: epsilon and b."""
        for mean, epsilon in _orders(self._operands(value, "relax.add")):
            number = constant_number(self.graph.definition(epsilon))
            square = self._mean(mean)
            base = self._square(square) if number is not None else None
            if number is not None and base is not None:
                return number, base
        return None

    def _mean(self, value: Any) -> Any:
        """What the mean over the last axis is taken of, the axis kept; None if it is another."""
        call = self.graph.call(value, "relax.mean")
        if call is None or call.attrs.axis is None:
            return None
        rank = len(call.args[0].ty.shape)
        axes = [int(axis) % rank for axis in call.attrs.axis]
        if axes != [rank - 1] or not call.attrs.keepdims:
            return None
        return self._part(value, call).args[0]

    def _square(self, value: Any) -> Any:
        power = self._operands(value, "relax.power")
        if power is not None:
            exponent = constant_number(self.graph.definition(power[1]))
            return power[0] if exponent == 2 else None
        squared = self._operands(value, "relax.square")
        if squared is not None:
            return squared[0]
        factors = self._operands(value, "relax.multiply")
        return factors[0] if factors is not None and self._same(*factors) else None

    def _deviation_of(self, numerator: Any, squared: Any) -> Any:
        """x where both are x - mean(x), else None."""
        sides = [self._operands(side, "relax.subtract") for side in (numerator, squared)]
        for side in sides:
            if side is None or not self._same(self._mean(side[1]), side[0]):
                return None
        first, second = sides
        if first is None or second is None or not self._same(first[0], second[0]):
            return None
        return first[0]

    def _vector_and_rest(self, operands: Any, last: Any) -> tuple[Any, Any] | None:
        """The operand that is a row of the last axis's length, and the other."""
        from tvm import tirx

        length = last.ty.shape[-1] if len(last.ty.shape) else None
        for row, rest in _orders(operands):
            shape = row.ty.shape
            if len(shape) == 1 and isinstance(length, tirx.IntImm) and len(rest.ty.shape) > 1:
                extent = shape[0]
                if isinstance(extent, tirx.IntImm) and int(extent) == int(length):
                    return row, rest
        return None

    def _operands(self, value: Any, operator: str) -> list[Any] | None:
        """The operands of a call of `operator`; the call becomes a part of the chain."""
        if value is None:
            return None
        call = self.graph.call(value, operator)
        return None if call is None else list(self._part(value, call).args)

    def _part(self, value: Any, call: Any) -> Any:
        self.parts.add(value)
        return call

    def _same(self, a: Any, b: Any) -> bool:
        """Whether two operands are one variable, or equal calls of equal operands."""
        if a is None or b is None:
            return False
        if a.same_as(b):
            return True
        first, second = self.graph.definition(a), self.graph.definition(b)
        if not operator_of(first) or operator_of(first) != operator_of(second):
            return False
        if len(first.args) != len(second.args) or operator_of(first) != "relax.subtract":
            return False
        return all(self._same(x, y) for x, y in zip(first.args, second.args, strict=True))

    def _closed(self) -> bool:
        """Whether only the chain itself reads its parts."""
        inner = [part for part in self.parts if part is not self.last]
        return all(
            reader is not None and reader in self.parts
            for part in inner
            for reader in self.graph.readers(part)
        )


def _orders(operands: list[Any] | None) -> list[tuple[Any, Any]]:
    """Both orders of two operands; none without operands."""
    if operands is None or len(operands) != 2:
        return []
    return [(operands[0], operands[1]), (operands[1], operands[0])]
