"""Running a float model in ONNX Runtime with more of its tensors as outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.unoptimised_session import UnoptimisedSession, with_outputs

if TYPE_CHECKING:
    import onnx


class FloatSession(UnoptimisedSession):
    """A model whose outputs are `tensors`; on one thread and unoptimised, so always the same.

    Parameters
    ----------
    proto
        A self-contained model, not changed.
    tensors
        Names of the tensors to return.
    nodes
        Further nodes to compute, at the end of the graph.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        tensors: Sequence[str],
        nodes: Iterable[onnx.NodeProto] = (),
    ) -> None:
        super().__init__(with_outputs(proto, tensors, nodes), tensors, "calibrate it", threads=1)
