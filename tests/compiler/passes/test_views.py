from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler.passes.dataflow import Dataflow
from autoglm_tvm.compiler.passes.views import simplify, static_shape, trace

SHAPE = (2, 6, 20)


def function_of(build: Callable[[Any, Any], Any], shape: tuple[Any, ...] = SHAPE) -> Any:
    """A function of `x`, to which `build` applies operators of Relax by way of a block builder."""
    from tvm import relax

    kind: Any = relax.TensorType
    x = relax.Var("x", kind(shape, "float32"))
    builder: Any = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(build(builder, x))
        builder.emit_func_output(result)
    return builder.get()["main"]


def split(builder: Any, x: Any, sections: Any, axis: int, number: int) -> Any:
    from tvm import relax

    return relax.TupleGetItem(builder.emit(relax.op.split(x, sections, axis)), number)


def op(name: str, *arguments: Any, **attributes: Any) -> Callable[[Any, Any], Any]:
    def apply(builder: Any, x: Any) -> Any:
        from tvm import relax

        return getattr(relax.op, name)(x, *arguments, **attributes)

    return apply


def take(builder: Any, x: Any) -> Any:
    from tvm import relax

    return relax.op.take(x, relax.const(4, "int64"), axis=1)


def chain(*steps: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def apply(builder: Any, x: Any) -> Any:
        for step in steps[:-1]:
            x = builder.emit(step(builder, x))
        return steps[-1](builder, x)

    return apply


VIEWS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[np.ndarray], np.ndarray]]] = {
    "reshape": (op("reshape", (3, 4, 4, 5)), lambda x: x.reshape(3, 4, 4, 5)),
    "permute_dims": (op("permute_dims", [2, 0, 1]), lambda x: x.transpose(2, 0, 1)),
    "permute_dims reversed": (op("permute_dims"), lambda x: x.transpose()),
    "expand_dims": (op("expand_dims", [1, -1]), lambda x: x[:, None, :, :, None]),
    "squeeze": (
        chain(op("expand_dims", [0, 2]), op("squeeze", [2])),
        lambda x: x[None],
    ),
    "squeeze all": (chain(op("expand_dims", [0, 2]), op("squeeze")), lambda x: x),
    "broadcast_to": (
        chain(op("expand_dims", [1]), op("broadcast_to", (3, 2, 5, 6, 20))),
        lambda x: np.broadcast_to(x[:, None], (3, 2, 5, 6, 20)),
    ),
    "strided_slice": (
        op("strided_slice", [1, 2], [1, -9], [99, 17], [2, 3]),
        lambda x: x[:, 1:99:2, -9:17:3],
    ),
    "take": (take, lambda x: x[:, 4]),
    "equal parts": (lambda b, x: split(b, x, 3, 1, 2), lambda x: x[:, 4:]),
    "parts": (lambda b, x: split(b, x, [3, 11], 2, 1), lambda x: x[:, :, 3:11]),
    "several": (
        chain(
            op("reshape", (2, 6, 5, 4)),
            op("permute_dims", [0, 2, 1, 3]),
            lambda b, x: split(b, x, 2, 2, 1),
            op("reshape", (10, 12)),
        ),
        lambda x: x.reshape(2, 6, 5, 4).transpose(0, 2, 1, 3)[:, :, 3:].reshape(10, 12),
    ),
}


def viewed(function: Any) -> tuple[Any, tuple[int, ...], Any]:
    """The base that the function's result shows, its shape, and the map, simplified."""
    graph = Dataflow(function)
    result = function.body.body
    shape = static_shape(result)
    assert shape is not None
    view = trace(result, graph.definition)
    return view.base, tuple(shape), simplify(view.index, shape)


def places(index: Any, at: list[int]) -> list[int]:
    from tvm import sym

    analyzer: Any = sym.Analyzer()
    return [int(analyzer.simplify(place)) for place in index(at)]


@pytest.mark.parametrize("name", VIEWS)
def test_reads_what_the_operator_returns(name: str) -> None:
    build, expected = VIEWS[name]
    function = function_of(build)
    base, shape, index = viewed(function)
    assert base.same_as(function.params[0])
    x = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    wanted = expected(x)
    assert wanted.shape == shape
    for at in np.random.default_rng(0).integers(0, shape, (40, len(shape))):
        assert x[tuple(places(index, at.tolist()))] == wanted[tuple(at)]


OPAQUE: dict[str, Callable[[Any, Any], Any]] = {
    "computes": op("exp"),
    "backwards": op("strided_slice", [2], [19], [2], [-1]),
}


@pytest.mark.parametrize("name", OPAQUE)
def test_stops_at_what_is_no_view(name: str) -> None:
    function = function_of(chain(OPAQUE[name], op("permute_dims")))
    base, _, index = viewed(function)
    assert base.same_as(Dataflow(function).variables[0])
    assert places(index, [0, 1, 1]) == [1, 1, 0]


def test_stops_at_symbolic_shapes() -> None:
    from tvm import tirx

    function = function_of(op("permute_dims"), (tirx.Var("n", "int64"), 3))
    graph = Dataflow(function)
    result = function.body.body
    assert static_shape(result) is None
    assert trace(result, graph.definition).base.same_as(result)
