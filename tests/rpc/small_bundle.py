"""A bundle of a few operators, made without an ONNX file or the compiler's stages."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np

from autoglm_tvm.artifacts.bundle import hash_file
from autoglm_tvm.artifacts.manifest import (
    FILE_NAME,
    WEIGHTS_FILE_NAME,
    KernelEntry,
    Manifest,
    Memory,
)
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.artifacts.weights import write_weights
from autoglm_tvm.targets.versions import PINNED_VERSIONS

LAYERS = 40
SIZE = 16


def small_network() -> Any:
    """Return a Relax module: LAYERS times ``x = relu(x @ w[i])``; outputs the last two ``x``.

    Many weights and a tuple of outputs are what a call over RPC may stumble over.
    """
    from tvm import relax
    from tvm.relax import op

    shape: Any = [SIZE, SIZE]

    def tensor(name: str) -> relax.Var:
        return relax.Var(name, relax.TensorType(shape, "float32"))

    builder = relax.BlockBuilder()
    x, weights = tensor("x"), [tensor(f"w{i}") for i in range(LAYERS)]
    with builder.function("main", [x, *weights]):
        with builder.dataflow():
            values = [x]
            for weight in weights:
                values.append(builder.emit(op.nn.relu(op.matmul(values[-1], weight))))
            result = builder.emit_output(relax.Tuple([values[-1], values[-2]]))
        builder.emit_func_output(result)
    return builder.finalize()


def small_inputs() -> dict[str, np.ndarray]:
    """Return the network's input."""
    return {"x": np.random.default_rng(0).random((SIZE, SIZE), dtype=np.float32)}


def expected_outputs(inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return ``x`` after each layer, by numpy."""
    values = [inputs["x"]]
    for weight in _weights():
        values.append(np.maximum(values[-1] @ weight, 0))
    return values[1:]


def write_small_bundle(directory: Path, target: dict[str, Any], link: Any) -> Path:
    """Compile the network for a TVM target and write it as a bundle.

    Parameters
    ----------
    directory
        The bundle's folder; must not exist.
    target
        TVM's description of the target.
    link
        Called as ``link(output, objects)`` to make the shared library.
    """
    import tvm
    from tvm import relax

    directory.mkdir(parents=True)
    tvm_target = tvm.target.Target(target)
    with tvm_target:
        pipeline: Any = relax.get_default_pipeline(tvm_target)
        module = pipeline(small_network())
    executable = relax.build(module, target=tvm_target, relax_pipeline=None)
    executable.export_library(str(directory / "libsmall.so"), fcompile=link)
    entries = write_weights(
        directory / WEIGHTS_FILE_NAME, ((f"w{i}", array) for i, array in enumerate(_weights()))
    )
    spec = {name: TensorSpec(name, "float32", (SIZE, SIZE)) for name in ("x", "y", "before")}
    kernels = [var.name_hint for var in module.get_global_vars() if var.name_hint != "main"]
    manifest = Manifest(
        name="small",
        target=_target_entry(str(target.get("mtriple", ""))),
        abi=PINNED_VERSIONS,
        library="libsmall.so",
        inputs=(spec["x"],),
        outputs=(spec["y"], spec["before"]),
        weights=entries,
        memory=Memory(LAYERS * SIZE * SIZE * 4, None),
        kernels=tuple(KernelEntry(name, (), "", "", "naive") for name in kernels),
        linker={},
        elf_check={},
        model_sha256="",
        files={path.name: hash_file(path) for path in directory.iterdir()},
    )
    (directory / FILE_NAME).write_text(manifest.to_json())
    return directory


def _target_entry(triple: str) -> dict[str, Any]:
    """Return the manifest's words on the target; no triple stands for this machine."""
    arch = triple.partition("-")[0] or platform.machine()
    abi = "android" if "android" in triple else "gnu"
    return {"name": "test", "triple": triple, "arch": arch, "abi": abi, "threads": 2}


def _weights() -> list[np.ndarray]:
    random = np.random.default_rng(1)
    scale = np.float32(2 / SIZE)
    return [scale * random.random((SIZE, SIZE), dtype=np.float32) for _ in range(LAYERS)]
