"""Running a model in ONNX Runtime as it is written, for what calibration and measuring look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.equivalence import for_onnxruntime
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx


class UnoptimisedSession:
    """A model, loaded by ONNX Runtime unoptimised: the plain meaning of its graph.

    Its optimiser would replace Q/DQ islands by integer kernels, and those saturate on CPUs that
    have no instruction for products of bytes.

    Parameters
    ----------
    proto
        Not changed.
    outputs
        Names of the graph outputs to return.
    purpose
        What it is run for; ends the message of an error.
    weights
        Further inputs of every run, by name.
    threads
        0 for as many as ONNX Runtime likes.

    Raises
    ------
    UserInputError
        ONNX Runtime refuses the model.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        outputs: Sequence[str],
        purpose: str,
        *,
        weights: Mapping[str, np.ndarray] | None = None,
        threads: int = 0,
    ) -> None:
        onnxruntime = load_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = threads
        options.log_severity_level = 4
        self.outputs = list(outputs)
        self._purpose = purpose
        self._weights = dict(weights or {})
        try:
            self._session: Any = onnxruntime.InferenceSession(
                for_onnxruntime(proto), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise self._refused("load", error) from error
        # An input that nothing reads is no input to ONNX Runtime.
        self._inputs = {item.name for item in self._session.get_inputs()}

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name; inputs that the model does not have are left out.

        Raises
        ------
        UserInputError
            ONNX Runtime refuses these inputs.
        """
        feeds = {**self._weights, **inputs}
        feeds = {name: array for name, array in feeds.items() if name in self._inputs}
        try:
            arrays = self._session.run(self.outputs, feeds)
        except Exception as error:
            raise self._refused("run", error) from error
        return dict(zip(self.outputs, arrays, strict=True))

    def _refused(self, verb: str, error: Exception) -> UserInputError:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return UserInputError(
            f"ONNX Runtime cannot {verb} the model to {self._purpose}: {first}",
            hint="see that `autoglm-tvm inspect` accepts the model, and that the calibration data "
            "fits it: shapes that belong together, and integers no larger than what they index",
        )


def with_outputs(
    proto: onnx.ModelProto, tensors: Iterable[str], nodes: Iterable[onnx.NodeProto] = ()
) -> onnx.ModelProto:
    """Return a copy of the model whose outputs are `tensors`, `nodes` at the end of its graph."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    copy.graph.node.extend(nodes)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in tensors)
    return copy
