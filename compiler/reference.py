"""ONNX Runtime as the reference that outputs are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoglm_tvm.compiler.frontend.dtypes import is_carried
from autoglm_tvm.compiler.frontend.equivalence import NEWEST_IR, for_onnxruntime
from autoglm_tvm.compiler.onnxruntime_module import load_onnxruntime
from autoglm_tvm.compiler.reference_types import as_fed, as_named, cast_at_interface
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import numpy as np
    import onnx

_EXTERNAL_DATA_FOLDER = "session.model_external_initializers_file_folder_path"


def run_reference(
    model: str | Path | onnx.ModelProto,
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """Run a model in ONNX Runtime on the CPU, unoptimised, on one thread.

    Parameters
    ----------
    model
        A path (which external weights are relative to) or a model in memory.
    inputs
        One array an input.
    outputs
        Names to return; by default all outputs of the model.

    Raises
    ------
    UserInputError
        ONNX Runtime cannot load or run the model on these inputs.
    """
    onnxruntime = load_onnxruntime()

    options = onnxruntime.SessionOptions()
    # The reference is the plain meaning of the graph, not somebody else's rewriting of it.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    source, small = _readable(model, options)
    where = str(model) if isinstance(model, (str, Path)) else ""
    try:
        session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        names = list(outputs) if outputs is not None else [o.name for o in session.get_outputs()]
        used = {item.name for item in session.get_inputs()}
        fed = {name: as_fed(a, small.get(name)) for name, a in inputs.items() if name in used}
        arrays: Any = session.run(names, fed)
    except Exception as error:
        raise UserInputError(
            f"ONNX Runtime cannot run the reference: {str(error).splitlines()[0]}",
            where=where,
            hint="check that this is the model that the bundle was compiled from, "
            "and give fitting inputs with --inputs",
        ) from error
    return {n: as_named(a, small.get(n)) for n, a in zip(names, arrays, strict=True)}


def _readable(
    model: str | Path | onnx.ModelProto, options: Any
) -> tuple[str | bytes, dict[str, str]]:
    """Return what ONNX Runtime loads: the path, or the model in an IR version that it knows.

    Beside it the dtypes of the inputs and outputs that are cast, see `reference_types`.
    """
    import onnx

    given = isinstance(model, onnx.ModelProto)
    proto = model if given else onnx.load(str(model), load_external_data=False)
    values = (*proto.graph.input, *proto.graph.output)
    small = any(is_carried(value.type.tensor_type.elem_type) for value in values)
    if not given:
        if proto.ir_version <= NEWEST_IR and not small:
            return str(model), {}
        folder = str(Path(model).absolute().parent)
        options.add_session_config_entry(_EXTERNAL_DATA_FOLDER, folder)
    if not small:
        return for_onnxruntime(proto), {}
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    own = cast_at_interface(copy)
    return for_onnxruntime(copy), own
