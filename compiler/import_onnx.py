"""Stage `import`: a normalised ONNX graph becomes a Relax module.

Relax is the graph IR of Apache TVM today; Relay, its predecessor, is gone. The importer is TVM's
own. A thin subclass of it gives every ONNX tensor a Relax variable of its own, so that later stages
can say which ONNX tensor a kernel computes, and turns its exceptions into messages with the node's
name.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.carried_types import carried
from autoglm_tvm.compiler.converters import CONVERTERS
from autoglm_tvm.compiler.converters.node_types import (
    NodeTypes,
    carried_inputs,
    node_types,
    set_types,
)
from autoglm_tvm.compiler.frontend.operators_for_loops import prefer_operators
from autoglm_tvm.compiler.passes.half_weights import widens_half_weights
from autoglm_tvm.compiler.read import ReadModel
from autoglm_tvm.compiler.refusal import how_to_bind
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from tvm import IRModule


# Operators of Relax without a working lowering in TVM 0.27.
_NOT_LOWERED = {
    "relax.dynamic_strided_slice": "TVM cannot lower a Slice with bounds known only at run time"
}


@dataclass(frozen=True)
class ImportedModel:
    """A Relax module and where its variables come from.

    Attributes
    ----------
    module
        One function ``main``; constants are part of it.
    tensor_names
        ONNX tensor name for each Relax variable that stands for one.
    half_weights
        Whether constants of float16 are used as float32: the module has them folded to float32.
    """

    module: IRModule
    tensor_names: dict[str, str]
    half_weights: bool = False

    def summary(self) -> str:
        """One line for people."""
        return f"{len(self.tensor_names)} named tensors in Relax"

    def dump(self, directory: Path) -> None:
        """Write the module as TVMScript."""
        (directory / "import.py.txt").write_text(self.module.script(), encoding="utf-8")


def import_onnx(model: ReadModel) -> ImportedModel:
    """Import the graph that the read stage made.

    Raises
    ------
    UserInputError
        TVM's importer refuses a node; the message names it.
    """
    from tvm import relax

    importer = _importer_class()(model.proto.graph)
    opset = next(
        entry.version for entry in model.proto.opset_import if entry.domain in ("", "ai.onnx")
    )
    printed = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        try:
            module = importer.from_onnx(model.proto.graph, opset)
        except Exception as error:
            importer.close_block()
            raise _refusal(importer, model, error) from error
    _refuse_operators(module)
    if model.weights:
        params = dict(importer.bound_names(model.weights))
        module = relax.transform.BindParams("main", params)(module)
    names = dict(importer.tensor_names)
    result = module["main"].body.body
    if len(model.outputs) == 1 and isinstance(result, relax.Var):
        # The importer returns a single output under a fresh variable, which outlives its own.
        names[result.name] = model.outputs[0].name
    return ImportedModel(module, names, widens_half_weights(model.proto.graph))


def _refuse_operators(module: Any) -> None:
    """Refuse what the importer makes and the passes after it cannot lower."""
    from tvm import relax

    found: set[str] = set()
    relax.analysis.post_order_visit(
        module["main"], lambda node: found.add(getattr(getattr(node, "op", None), "name", ""))
    )
    for operator, reason in _NOT_LOWERED.items():
        if operator in found:
            raise UserInputError(
                reason,
                where="the graph",
                hint="make the bounds constants, or fix the dimensions that they are computed from "
                "with --shape",
            )


def _refusal(importer: Any, model: ReadModel, error: Exception) -> UserInputError:
    operator, name = importer.converting
    detail = (str(error).strip() or type(error).__name__).splitlines()[0]
    return UserInputError(
        f"TVM's importer refuses it: {detail}",
        where=f"node {name!r} ({operator})" if operator else "the graph",
        hint=f"{how_to_bind(model.inputs)}--debug shows TVM's whole message",
    )


def _importer_class() -> Any:
    import tvm
    from onnx import numpy_helper
    from tvm import relax
    from tvm.relax.frontend.onnx import onnx_frontend

    class NamedTensors(dict[str, Any]):
        """The importer's table of tensors; a computed tensor gets a variable when it is stored."""

        def __init__(self, importer: Any, content: Any = ()) -> None:
            super().__init__(content)
            self.importer = importer

        def __setitem__(self, name: str, value: Any) -> None:
            if isinstance(value, relax.Call) and isinstance(value.ty, relax.TensorType):
                value = self.importer.bb.emit(value, name_hint=name or "unnamed")
            if isinstance(value, relax.Var):
                self.importer.tensor_names.setdefault(value.name, name)
            super().__setitem__(name, value)

    class Importer(onnx_frontend.ONNXGraphImporter):
        """TVM's importer, with names kept and the node at work known."""

        def __init__(self, graph: Any) -> None:
            super().__init__({}, carried_inputs(graph))
            self.types = node_types(graph)
            self.bb.emit_te = prefer_operators(self.bb)
            self.tensor_names: dict[str, str] = {}
            self.converting = ("", "")
            self._nodes = NamedTensors(self)

        def bound_names(self, weights: Any) -> Any:
            """Pair the importer's variable of each detached weight with its value."""
            for name, array in weights.items():
                yield self._inputs[name].name, carried(array)

        def close_block(self) -> None:
            """End the block that an error leaves open, of which TVM would print a warning."""
            with contextlib.suppress(Exception):
                self.bb._end_block()

        def _parse_array(self, tensor_proto: Any) -> Any:
            """Read an initializer, small types as what carries them."""
            array = numpy_helper.to_array(tensor_proto)
            return tvm.runtime.tensor(carried(array).reshape(tuple(tensor_proto.dims)))

        def _check_for_unsupported_ops(self, graph: Any) -> None:
            """Nothing: the read stage has refused them, and TVM does not know our converters."""

        def _convert_operator(
            self, op_name: str, inputs: Any, attrs: dict[str, Any], opset: int
        ) -> Any:
            self.converting = (op_name, attrs["tvm_custom"]["name"])
            set_types(attrs, self.types.get(attrs["tvm_custom"]["name"], NodeTypes()))
            if op_name in CONVERTERS:
                return self.bb.normalize(CONVERTERS[op_name](self.bb, list(inputs), attrs))
            return super()._convert_operator(op_name, inputs, attrs, opset)

        def _convert_subgraph(self, bb: Any, graph: Any) -> Any:
            # A branch's body is one nested expression: a variable emitted here would be computed
            # outside the branch.
            named = self._nodes
            self._nodes = dict(named)
            try:
                return super()._convert_subgraph(bb, graph)
            finally:
                self._nodes = named

    return Importer
