"""What is in an ONNX file, before anything is compiled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.compiler.frontend.load import load
from autoglm_tvm.compiler.read import ReadModel, read
from autoglm_tvm.targets.errors import AutoglmError, UserInputError


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
        Elements of all initializers.
    inputs, outputs
        After normalisation; empty where the model is refused.
    nodes_read
        Nodes left after normalisation.
    notes
        What normalisation changed.
    refusal
        Why the model cannot be compiled; empty where the read stage takes it.
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
    """Summarise an ONNX file, and say whether and how the read stage takes it.

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
    except UserInputError as error:
        if shapes:
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
        parameters=sum(_elements(tensor.dims) for tensor in proto.graph.initializer),
        inputs=normalised.inputs if normalised else (),
        outputs=normalised.outputs if normalised else (),
        nodes_read=len(normalised.proto.graph.node) if normalised else 0,
        notes=normalised.notes if normalised else (),
        refusal=refusal,
    )


def _elements(dims: Sequence[int]) -> int:
    total = 1
    for dim in dims:
        total *= dim
    return total
