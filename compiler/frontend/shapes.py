"""Apply the user's shapes to the inputs and give every free dimension a name of its own.

TVM's importer ignores a name that the model lacks and a shape that contradicts it, equates all
unnamed dimensions, and parses ``+ - * /`` in a dimension's name as arithmetic. So names are checked
and made plain here, before the importer sees them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.symbols import SymbolTable, is_unnamed
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

Dim = int | str

#: The most elements a dimension or an input may have; index arithmetic of kernels is in int32.
LARGEST_COUNT = 2**31 - 1


@dataclass
class BoundShapes:
    """What binding did.

    Attributes
    ----------
    dimensions
        For each dimension name of the model: the number it was bound to, or its symbol's name.
    changed
        Whether any free dimension became a number.
    notes
        What was renamed and why.
    """

    dimensions: dict[str, Dim] = field(default_factory=dict)
    changed: bool = False
    notes: list[str] = field(default_factory=list)


def bind_shapes(
    model: onnx.ModelProto,
    inputs: Sequence[str],
    shapes: Mapping[str, Sequence[Dim]] | None,
    label: str,
) -> BoundShapes:
    """Fix and name the dimensions of the inputs of `model`, in place.

    Parameters
    ----------
    inputs
        The names of the real inputs (detached weights are inputs of the graph too).
    shapes
        Input name -> shape, or dimension name -> one value. A string as an entry names a dimension
        that stays symbolic.

    Raises
    ------
    UserInputError
        For an unknown name (with near matches), a wrong rank, a dimension that contradicts the
        model or another input, a number below 1 or over 2**31 - 1, an
        input with more elements than that, or an input of unknown rank without a shape.
    """
    binder = _Binder(label, SymbolTable())
    values = {value.name: value for value in model.graph.input if value.name in set(inputs)}
    for name, shape in (shapes or {}).items():
        checked = binder.check_numbers(name, shape)
        if name in values:
            binder.bind_input(values[name], checked)
        else:
            binder.bind_dimension(name, checked, values)
    for value in values.values():
        binder.finish(value)
    return binder.result


class _Binder:
    def __init__(self, label: str, symbols: SymbolTable) -> None:
        self._label = label
        self._symbols = symbols
        self._numbers: dict[str, tuple[int, str]] = {}
        self.result = BoundShapes()

    def check_numbers(self, name: str, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """Return `shape` with Python's numbers for any whole numbers, numpy's too."""
        return tuple(
            dim if isinstance(dim, str) and dim else self._number(name, shape, dim) for dim in shape
        )

    def _number(self, name: str, shape: Sequence[Dim], dim: object) -> int:
        try:
            number = 0 if isinstance(dim, bool) else operator.index(dim)  # type: ignore[arg-type]
        except TypeError:
            number = 0
        if number < 1:
            raise self._error(
                f"shape {_text(shape)} of '{name}' has the dimension {dim!r}",
                "every dimension must be a whole number of at least 1, or a name",
            )
        if number > LARGEST_COUNT:
            raise self._error(
                f"shape {_text(shape)} of '{name}' has the dimension {number}, more than "
                f"{LARGEST_COUNT}: TVM indexes with 32 bits",
                "choose a smaller dimension",
            )
        return number

    def bind_dimension(
        self, name: str, shape: Sequence[Dim], values: Mapping[str, onnx.ValueInfoProto]
    ) -> None:
        """Bind the dimension called `name` in every input that has it."""
        named = {d.dim_param for v in values.values() for d in v.type.tensor_type.shape.dim}
        named = {dim for dim in named if not is_unnamed(dim)}
        if name not in named:
            known = [*values, *sorted(named)]
            near = get_close_matches(name, known, n=3, cutoff=0.5)
            listed = ", ".join(map(_show, values.values())) or "none"
            hint = f"did you mean {' or '.join(near)}? " if near else ""
            raise self._error(
                f"the model has no input or dimension called '{name}'", f"{hint}inputs: {listed}"
            )
        if len(shape) != 1:
            raise self._error(
                f"'{name}' is a dimension, so it takes one value, not {_text(shape)}",
                f"for example --shape {name}=1",
            )
        if isinstance(shape[0], int):
            self._fix(name, shape[0], f"--shape {name}={shape[0]}")

    def bind_input(self, value: onnx.ValueInfoProto, shape: Sequence[Dim]) -> None:
        """Give one input the shape that the user asked for."""
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            tensor.shape.SetInParent()
            for _ in shape:
                tensor.shape.dim.add()
        dims = tensor.shape.dim
        if len(shape) != len(dims):
            raise self._contradiction(value, shape, f"{len(dims)} dimensions, not {len(shape)}")
        for dim, wanted in zip(dims, shape, strict=True):
            if dim.dim_value > 0 and wanted != dim.dim_value:
                reason = f"{dim.dim_value} where {wanted} is asked for"
                raise self._contradiction(value, shape, reason)
        for dim, wanted in zip(dims, shape, strict=True):
            if dim.dim_value > 0:
                continue
            if isinstance(wanted, int):
                if not is_unnamed(dim.dim_param):
                    self._fix(dim.dim_param, wanted, f"{value.name}={_text(shape)}")
                dim.dim_value = wanted
                self.result.changed = True
            else:
                dim.dim_param = wanted

    def _fix(self, name: str, number: int, source: str) -> None:
        before, earlier = self._numbers.setdefault(name, (number, source))
        if before != number:
            raise self._error(
                f"dimension '{name}' is {before} in {earlier} and {number} in {source}",
                "the model gives both the same name, so they must be equal",
            )

    def finish(self, value: onnx.ValueInfoProto) -> None:
        """Replace bound names by numbers and the others by plain symbols."""
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            raise self._error(
                f"the model does not say how many dimensions input '{value.name}' has",
                f"give its shape, for example --shape {value.name}=1,3,224,224",
            )
        for axis, dim in enumerate(tensor.shape.dim):
            name = dim.dim_param
            if dim.HasField("dim_value") and dim.dim_value >= 0:
                continue
            if name in self._numbers:
                dim.dim_value = self._numbers[name][0]
                self.result.changed = True
                continue
            symbol = self._symbols.for_dimension(name, value.name, axis)
            dim.dim_param = symbol
            if is_unnamed(name):
                self.result.notes.append(f"dimension {axis} of '{value.name}' is called {symbol}")
            elif symbol != name and name not in self.result.dimensions:
                self.result.notes.append(f"dimension '{name}' is called {symbol}")
            if not is_unnamed(name):
                self.result.dimensions[name] = symbol
            else:
                self.result.dimensions[symbol] = symbol
        self.result.dimensions.update({name: n for name, (n, _) in self._numbers.items()})
        count = prod(max(dim.dim_value, 1) for dim in tensor.shape.dim)
        if count > LARGEST_COUNT:
            raise self._error(
                f"input {_show(value)} has {count} elements, more than {LARGEST_COUNT}: "
                "TVM indexes with 32 bits",
                f"choose smaller dimensions with --shape {value.name}=...",
            )

    def _contradiction(
        self, value: onnx.ValueInfoProto, shape: Sequence[Dim], reason: str
    ) -> UserInputError:
        return self._error(
            f"shape {_text(shape)} contradicts the model, whose input is {_show(value)}: "
            f"it has {reason}",
            f"--shape {value.name}={','.join(map(str, _dims(value)))} keeps what is fixed",
        )

    def _error(self, what: str, hint: str) -> UserInputError:
        return UserInputError(what, where=self._label, hint=hint)


def _dims(value: onnx.ValueInfoProto) -> tuple[Dim, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else dim.dim_param or "?"
        for dim in dims
    )


def _show(value: onnx.ValueInfoProto) -> str:
    known = value.type.tensor_type.HasField("shape")
    return f"{value.name} {_text(_dims(value)) if known else '(unknown rank)'}"


def _text(shape: Sequence[Dim]) -> str:
    return f"[{', '.join(map(str, shape))}]"
