"""The read stage: from an ONNX file to a normalised model that TVM's importer reads rightly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.frontend.constants import (
    constant_nodes_to_initializers,
    initializers_are_constants,
)
from autoglm_tvm.compiler.frontend.fold import fold_constants
from autoglm_tvm.compiler.frontend.functions import expand_functions, inline_local_functions
from autoglm_tvm.compiler.frontend.graph import default_opset
from autoglm_tvm.compiler.frontend.infer import check_shapes_fit, forget_shapes, infer_shapes
from autoglm_tvm.compiler.frontend.keep_symbols import keep_symbols
from autoglm_tvm.compiler.frontend.load import load
from autoglm_tvm.compiler.frontend.outputs import settle_outputs
from autoglm_tvm.compiler.frontend.prune import prune
from autoglm_tvm.compiler.frontend.quantized.normalise import (
    first_quantized,
    normalise_quantized,
)
from autoglm_tvm.compiler.frontend.rewrite import rewrite_nodes
from autoglm_tvm.compiler.frontend.shape_values import (
    bypass_identities,
    shape_outputs_to_tensors,
)
from autoglm_tvm.compiler.frontend.shapes import bind_shapes
from autoglm_tvm.compiler.frontend.specs import tensor_spec
from autoglm_tvm.compiler.frontend.structure import (
    check_initializers_named,
    check_structure,
    name_nodes,
)
from autoglm_tvm.compiler.frontend.support import (
    check_interface_types,
    check_supported,
    operator_counts,
)
from autoglm_tvm.compiler.frontend.upgrade import upgrade_opset
from autoglm_tvm.compiler.frontend.weights import detach_weights
from autoglm_tvm.compiler.frontend.windows import check_windows_fit
from autoglm_tvm.compiler.frontend.zero_channels import drop_zero_channels

if TYPE_CHECKING:
    import numpy as np
    import onnx


@dataclass
class ReadModel:
    """A model that was read, checked and normalised.

    Attributes
    ----------
    proto
        The normalised model, ready for ``tvm.relax.frontend.onnx.from_onnx``. Its graph inputs are
        `inputs` in order, then one input of fixed shape for each of `weights`.
    inputs, outputs
        The model's real inputs and outputs: names and order as in the file, shapes as bound.
    weights
        Large initializers kept out of `proto`, by name; external ones are read-only memory maps.
    notes
        What was changed and why, in order.
    source_sha256
        SHA-256 of the model file (of the serialised message for a ``ModelProto``); external data
        files are not part of it.
    opset
        Version of the default operator set.
    dimensions
        The model's dimension names, each with the number it was bound to or its symbol's name.
    quantized
        Name of the file's first node that computes with quantized tensors, which need not be in
        `proto`; None where the file's model is float.
    """

    proto: onnx.ModelProto
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    weights: Mapping[str, np.ndarray]
    notes: tuple[str, ...]
    source_sha256: str
    opset: int
    dimensions: Mapping[str, int | str]
    quantized: str | None = None

    def summary(self) -> str:
        """Return inputs, outputs, operators and notes as text of several lines."""
        counts = operator_counts(self.proto)
        operators = ", ".join(f"{name} {count}" for name, count in counts.items())
        lines = [f"opset {self.opset}, {sum(counts.values())} nodes: {operators}"]
        lines += [f"input  {spec}" for spec in self.inputs]
        lines += [f"output {spec}" for spec in self.outputs]
        lines += [f"dimension {name} = {value}" for name, value in self.dimensions.items()]
        if self.weights:
            total = sum(array.nbytes for array in self.weights.values())
            lines.append(f"{len(self.weights)} detached weights, {total} bytes")
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def __str__(self) -> str:
        return self.summary()

    def dump(self, folder: str | Path) -> list[Path]:
        """Write ``read.onnx`` (without detached weights) and ``read.txt`` into `folder`."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        model, text = target / "read.onnx", target / "read.txt"
        model.write_bytes(self.proto.SerializeToString(deterministic=True))
        text.write_text(f"{self.summary()}\n", encoding="utf-8")
        return [model, text]


def read(
    model: str | Path | onnx.ModelProto,
    shapes: Mapping[str, Sequence[int | str]] | None = None,
    *,
    detach_above: int | None = None,
) -> ReadModel:
    """Read and normalise an ONNX model.

    Parameters
    ----------
    model
        Path of an ONNX file, or a loaded model (which is not changed).
    shapes
        Input name -> shape, for example ``{"x": (1, 3, 224, 224)}``; a string as an entry keeps
        that dimension symbolic under that name. A key may also be the name of a dimension, with one
        value: ``{"batch": (1,)}``. Dimensions not given stay symbolic.
    detach_above
        Keep the weights outside the graph when together they exceed this many bytes (default
        64 MiB). Weights that the file keeps outside always stay outside.

    Returns
    -------
    ReadModel
        The same input gives the same bytes.

    Raises
    ------
    UserInputError
        Whenever the file, a shape or an operator is not one that can be compiled; the message names
        the tensor or node, what was found and what to do.
    """
    # What the file says, checked before anything is changed.
    source = load(model)
    proto, label = source.proto, source.label
    notes = check_initializers_named(proto, label)
    notes += initializers_are_constants(proto)
    notes += name_nodes(proto)
    notes += check_structure(proto, label)
    notes += check_interface_types(proto, label)
    inputs = [value.name for value in proto.graph.input]
    weights, detached = detach_weights(proto, source.folder, label, detach_above)
    notes += detached

    # Shapes: bound or named, then inferred through the whole graph.
    bound = bind_shapes(proto, inputs, shapes, label)
    notes += bound.notes
    declared = forget_shapes(proto)
    notes += inline_local_functions(proto, label)
    notes += constant_nodes_to_initializers(proto)
    if bound.changed:
        check_shapes_fit(proto, label)
    infer_shapes(proto, label)
    quantized = first_quantized(proto)
    notes += upgrade_opset(proto, weights)
    notes += normalise_quantized(proto, weights, label)
    check_windows_fit(proto, label)

    # The graph: what the importer lacks is expanded, what is known is folded, the rest is refused.
    notes += bypass_identities(proto)
    notes += prune(proto)
    notes += expand_functions(proto)
    notes += fold_constants(proto, weights)
    notes += expand_functions(proto)
    notes += keep_symbols(proto)
    notes += rewrite_nodes(proto)
    notes += bypass_identities(proto)
    notes += shape_outputs_to_tensors(proto)
    constant_nodes_to_initializers(proto)
    notes += prune(proto)
    infer_shapes(proto)
    notes += drop_zero_channels(proto, weights)
    check_windows_fit(proto, label)
    check_supported(proto, label)
    notes += settle_outputs(proto, declared, trust_declared=not bound.changed)

    specs = {value.name: tensor_spec(value) for value in proto.graph.input}
    return ReadModel(
        proto=proto,
        inputs=tuple(specs[name] for name in inputs),
        outputs=tuple(tensor_spec(value) for value in proto.graph.output),
        weights=weights,
        notes=tuple(notes),
        source_sha256=source.sha256,
        opset=default_opset(proto),
        dimensions=bound.dimensions,
        quantized=quantized,
    )
