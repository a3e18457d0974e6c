"""Write functions of float32 vectors as LLVM's textual IR."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Value:
    """A value of the function being written: of floats, of ints or of truth values.

    Attributes
    ----------
    body
        The function it belongs to.
    name
        A register (`%5`) or a constant.
    type
        Its LLVM type, such as `<16 x float>`.
    """

    body: Body
    name: str
    type: str

    def __add__(self, other: Value) -> Value:
        """Sum of floats or ints."""
        return self.body.step("fadd" if self._is_float else "add", self, other)

    def __sub__(self, other: Value) -> Value:
        """Difference of floats or ints."""
        return self.body.step("fsub" if self._is_float else "sub", self, other)

    def __mul__(self, other: Value) -> Value:
        """Product of floats."""
        return self.body.step("fmul", self, other)

    def __truediv__(self, other: Value) -> Value:
        """Quotient of floats."""
        return self.body.step("fdiv", self, other)

    def __neg__(self) -> Value:
        """A float with the other sign."""
        return self.body.negative(self)

    def __and__(self, other: Value) -> Value:
        """Common bits."""
        return self.body.step("and", self, other)

    def __or__(self, other: Value) -> Value:
        """Bits of either."""
        return self.body.step("or", self, other)

    def __lshift__(self, bits: int) -> Value:
        """Bits moved up."""
        return self.body.step("shl", self, self.body.whole(bits))

    def __rshift__(self, bits: int) -> Value:
        """Bits moved down, the sign repeated."""
        return self.body.step("ashr", self, self.body.whole(bits))

    def __lt__(self, other: Value) -> Value:
        """Whether smaller, lane by lane; not where one is NaN."""
        return self.body.step("fcmp olt", self, other, "i1")

    def __le__(self, other: Value) -> Value:
        """Whether not larger, lane by lane; not where one is NaN."""
        return self.body.step("fcmp ole", self, other, "i1")

    def __gt__(self, other: Value) -> Value:
        """Whether larger, lane by lane; not where one is NaN."""
        return self.body.step("fcmp ogt", self, other, "i1")

    @property
    def _is_float(self) -> bool:
        return "float" in self.type


class Body:
    """The body of a function on float32, a vector of them or a scalar, as it is written."""

    def __init__(self, lanes: int, avx512: bool = False) -> None:
        """For vectors of `lanes` elements, 1 for scalars; `avx512` is whether the target has it."""
        self.lanes = lanes
        self.avx512 = avx512
        self.lines: list[str] = []
        self.declarations: set[str] = set()

    def type_of(self, element: str) -> str:
        """`element`, or a vector of it."""
        return f"<{self.lanes} x {element}>" if self.lanes > 1 else element

    def number(self, value: float) -> Value:
        """A float constant, rounded to float32."""
        # LLVM writes a float as the bits of the double of the same value.
        rounded = struct.unpack("<f", struct.pack("<f", value))[0]
        bits = struct.pack(">d", rounded).hex().upper()
        return self._constant(f"0x{bits}", "float")

    def whole(self, value: int) -> Value:
        """An int32 constant."""
        return self._constant(str(value), "i32")

    def step(self, operation: str, a: Value, b: Value, element: str | None = None) -> Value:
        """One operation on two values of the same type; `element` where the result has another."""
        kind = self.type_of(element) if element else a.type
        return self._emit(f"{operation} {a.type} {a.name}, {b.name}", kind)

    def negative(self, value: Value) -> Value:
        """-value; LLVM folds it into a multiply-add."""
        return self._emit(f"fneg {value.type} {value.name}", value.type)

    def multiply_add(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c: with one rounding where the machine has an instruction for it."""
        return self.intrinsic("fmuladd", a, b, c)

    def intrinsic(self, name: str, *arguments: Value) -> Value:
        """`llvm.<name>` of float arguments, with a result of their type."""
        kind = arguments[0].type
        suffix = f"v{self.lanes}f32" if self.lanes > 1 else "f32"
        function = f"{kind} @llvm.{name}.{suffix}"
        self.declarations.add(f"declare {function}({', '.join([kind] * len(arguments))})")
        operands = ", ".join(f"{kind} {argument.name}" for argument in arguments)
        return self._emit(f"call {function}({operands})", kind)

    @property
    def has_scale(self) -> bool:
        """Whether there is an instruction for `scale`."""
        return self.avx512 and self.lanes == 16

    def scale(self, value: Value, exponent: Value) -> Value:
        """value * 2^exponent for a whole number of floats, with one rounding (AVX-512)."""
        kind = value.type
        function = f"{kind} @llvm.x86.avx512.mask.scalef.ps.512"
        self.declarations.add(f"declare {function}({kind}, {kind}, {kind}, i16, i32)")
        # All lanes; rounding as the machine is set (4).
        operands = f"{kind} {value.name}, {kind} {exponent.name}, {kind} {value.name}"
        return self._emit(f"call {function}({operands}, i16 -1, i32 4)", kind)

    def bits(self, value: Value) -> Value:
        """The bits of floats as ints."""
        return self._convert("bitcast", value, "i32")

    def from_bits(self, value: Value) -> Value:
        """The floats that have these bits."""
        return self._convert("bitcast", value, "float")

    def to_float(self, value: Value) -> Value:
        """Ints as floats of the same value."""
        return self._convert("sitofp", value, "float")

    def select(self, condition: Value, yes: Value, no: Value) -> Value:
        """Lane by lane one or the other."""
        operands = ", ".join(f"{item.type} {item.name}" for item in (condition, yes, no))
        return self._emit(f"select {operands}", yes.type)

    def _convert(self, operation: str, value: Value, element: str) -> Value:
        kind = self.type_of(element)
        return self._emit(f"{operation} {value.type} {value.name} to {kind}", kind)

    def _constant(self, text: str, element: str) -> Value:
        name = f"splat ({element} {text})" if self.lanes > 1 else text
        return Value(self, name, self.type_of(element))

    def _emit(self, instruction: str, kind: str) -> Value:
        register = f"%t{len(self.lines)}"
        self.lines.append(f"  {register} = {instruction}")
        return Value(self, register, kind)


def function_text(name: str, body: Body, build: Callable[[Body, Value], Value]) -> str:
    """Return the definition of a function `name` of one argument that computes what `build` says.

    `body` is an empty one.
    """
    kind = body.type_of("float")
    result = build(body, Value(body, "%x", kind))
    head = f'define {kind} @"{name}"({kind} %x) {{'
    tail = f"  ret {kind} {result.name}"
    return "\n".join([*sorted(body.declarations), head, *body.lines, tail, "}", ""])
