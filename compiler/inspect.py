"""What is in an ONNX file, before anything is compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.frontend.load import load
from autoglm_tvm.compiler.import_onnx import import_onnx
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import AutoglmError, UserInputError

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class ModelSummary:
    """An ONNX file in short.

    Attributes
    ----------
    opsets
        Version of each operator domain that the model imports.
    operators
        How often each operator stands in the main graph of the file as it is.
    parameters
        Elements of all constants.
    inputs, outputs
        After normalisation; empty where the model is refused.
    nodes_read
        Nodes left after normalisation.
    notes
        What normalisation changed.
    refusal
        Why the model cannot be compiled; empty where the read and import stages take it.
    """

    path: str
    producer: str
    opsets: dict[str, int]
    operators: dict[str, int]
    parameters: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    nodes_read: int
    notes: tuple[str, ...]
    refusal: str

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def inspect_model(
    path: Path, shapes: Mapping[str, Sequence[int | str]] | None = None
) -> ModelSummary:
    """Summarise an ONNX file, and say whether it can be read and imported.

    Raises
    ------
    UserInputError
        It is no ONNX file.
    """
    loaded = load(path)
    normalised: ReadModel | None = None
    refusal = ""
    try:
        normalised = read(path, shapes)
        import_onnx(normalised)
    except UserInputError as error:
        if shapes and normalised is None:
            raise
        refusal = str(error)
    except AutoglmError as error:
        refusal = str(error)
    proto = loaded.proto
    counts = Counter(
        f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        for node in proto.graph.node
    )
    return ModelSummary(
        path=str(path),
        producer=f"{proto.producer_name} {proto.producer_version}".strip(),
        opsets={entry.domain or "ai.onnx": entry.version for entry in proto.opset_import},
        operators=dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        parameters=_parameters(proto, normalised),
        inputs=normalised.inputs if normalised else (),
        outputs=normalised.outputs if normalised else (),
        nodes_read=len(normalised.proto.graph.node) if normalised else 0,
        notes=normalised.notes if normalised else (),
        refusal=refusal,
    )


def _parameters(proto: onnx.ModelProto, normalised: ReadModel | None) -> int:
    """Count the elements of all constants; a refused model's may be hidden in Constant nodes."""
    if normalised is None:
        return sum(prod(tensor.dims) for tensor in proto.graph.initializer)
    detached = sum(array.size for array in normalised.weights.values())
    return detached + sum(prod(tensor.dims) for tensor in normalised.proto.graph.initializer)
