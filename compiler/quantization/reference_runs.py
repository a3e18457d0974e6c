"""Runs in ONNX Runtime that accuracy is measured by: one session a model, many samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.quantization.unoptimised_session import UnoptimisedSession

if TYPE_CHECKING:
    import numpy as np

    from autoglm_tvm.compiler.read import ReadModel

#: Bytes of a float model's outputs that are kept between runs; what does not fit is run again.
KEPT_BYTES = 256 * 2**20


class OnnxSession(UnoptimisedSession):
    """A read model as it is, with all its outputs.

    Raises
    ------
    UserInputError
        ONNX Runtime refuses the model.
    """

    def __init__(self, model: ReadModel) -> None:
        names = [spec.name for spec in model.outputs]
        super().__init__(model.proto, names, "measure its accuracy", weights=model.weights)


class FloatOutputs:
    """Samples, each with the float model's outputs; computed once as far as memory allows.

    Parameters
    ----------
    model
        The float model.
    data
        Re-iterable: one dict of arrays by input name for each run.
    keep_bytes
        Outputs beyond this many bytes are computed again in each pass.
    """

    def __init__(
        self,
        model: ReadModel,
        data: Iterable[dict[str, np.ndarray]],
        keep_bytes: int = KEPT_BYTES,
    ) -> None:
        self.model = model
        self.data = data
        self._room = keep_bytes
        self._kept: list[dict[str, np.ndarray]] = []
        self._session: OnnxSession | None = None

    def __iter__(self) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
        """Yield the inputs and the float model's outputs of each sample."""
        for number, inputs in enumerate(self.data):
            if number < len(self._kept):
                yield inputs, self._kept[number]
                continue
            if self._session is None:
                self._session = OnnxSession(self.model)
            outputs = self._session.run(inputs)
            size = sum(array.nbytes for array in outputs.values())
            if number == len(self._kept) and size <= self._room:
                self._room -= size
                self._kept.append(outputs)
            yield inputs, outputs
