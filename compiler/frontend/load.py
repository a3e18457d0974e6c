"""Read the bytes of a model file into a protobuf message, leaving external weights on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoglm_tvm.compiler.frontend.graph import default_opset, walk_graphs
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    import onnx

#: protobuf cannot hold or parse a message of this many bytes.
PROTOBUF_LIMIT = 2**31
#: The oldest IR version (ONNX 1.1, 2018) that the importer reads.
OLDEST_IR = 3

#: How files that people mistake for ONNX begin: (offset, bytes, what it is and what to do).
OTHER_FORMATS = (
    (0, b"version https://git-lfs", "a Git LFS pointer; fetch the real file with: git lfs pull"),
    (0, b"PK\x03\x04", "a zip archive (PyTorch saves those); export it with torch.onnx.export"),
    (0, b"\x80", "a Python pickle; export the model with torch.onnx.export"),
    (4, b"TFL3", "a TensorFlow Lite model; convert it with tf2onnx"),
    (4, b"ORTM", "an ONNX Runtime .ort file; give the .onnx file it was made from"),
    (0, b"\x89HDF", "an HDF5 file (Keras saves those); convert it with tf2onnx"),
    (0, b"\x1f\x8b", "a gzip archive; unpack it first"),
)


@dataclass
class LoadedModel:
    """A parsed model and where it came from.

    Attributes
    ----------
    proto
        The model; tensors with external data still point to their files.
    folder
        Where external data lies; None for a model given as a message.
    label
        How messages name the model: its path, or ``<ModelProto>``.
    sha256
        SHA-256 of the file's bytes, in hexadecimal (external data not included).
    """

    proto: onnx.ModelProto
    folder: Path | None
    label: str
    sha256: str


def load(model: str | Path | onnx.ModelProto) -> LoadedModel:
    """Read `model` without its external weights.

    Raises
    ------
    UserInputError
        For a missing, empty, truncated, foreign or too large file, and for a model without a
        graph, nodes, outputs or operator set, or from before ONNX 1.1.
    """
    import onnx

    if not isinstance(model, (str, Path, onnx.ModelProto)):
        raise UserInputError(
            f"the model is of type {type(model).__name__}",
            where=repr(model)[:80],
            hint="give the path of an ONNX file, or an onnx.ModelProto",
        )
    from_memory = isinstance(model, onnx.ModelProto)
    loaded = _from_message(model) if from_memory else _from_file(Path(model))
    _check_header(loaded)
    return loaded


def _from_message(model: onnx.ModelProto) -> LoadedModel:
    import onnx

    label = "<ModelProto>"
    if model.ByteSize() >= PROTOBUF_LIMIT:
        raise _too_large(label, model.ByteSize())
    data = model.SerializeToString(deterministic=True)
    return LoadedModel(onnx.ModelProto.FromString(data), None, label, _sha256(data))


def _from_file(path: Path) -> LoadedModel:
    label = str(path)
    data = _read_bytes(path)
    if not data:
        raise UserInputError(
            "the model file is empty", where=label, hint="copy or download it again"
        )
    return LoadedModel(_parse(data, label), path.resolve().parent, label, _sha256(data))


def _read_bytes(path: Path) -> bytes:
    label = str(path)
    if path.is_dir():
        found = sorted(entry.name for entry in path.glob("*.onnx"))[:5]
        hint = f"name one of its files: {', '.join(found)}" if found else "name an .onnx file"
        raise UserInputError("this is a folder, not an ONNX file", where=label, hint=hint)
    try:
        size = path.stat().st_size
        if size >= PROTOBUF_LIMIT:
            raise _too_large(label, size)
        return path.read_bytes()
    except FileNotFoundError:
        raise UserInputError(
            "there is no such model file", where=label, hint="check the path and its spelling"
        ) from None
    except OSError as err:
        raise UserInputError(
            f"the model file cannot be read: {err.strerror}",
            where=label,
            hint="check the path and its permissions",
        ) from None


def _parse(data: bytes, label: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    for offset, magic, explanation in OTHER_FORMATS:
        if data[offset:].startswith(magic):
            raise UserInputError("not an ONNX file", where=label, hint=f"it is {explanation}")
    try:
        proto = onnx.ModelProto.FromString(data)
    except DecodeError:
        # Every ONNX file that a known exporter writes begins with field 1, the IR version.
        if data[:1] == b"\x08":
            raise UserInputError(
                f"the ONNX file is truncated or damaged ({len(data)} bytes)",
                where=label,
                hint="copy or download it again, and compare its size with the original",
            ) from None
        raise _not_onnx(label) from None
    if not proto.HasField("graph"):
        raise _not_onnx(label)
    return proto


def _check_header(loaded: LoadedModel) -> None:
    import onnx

    proto, label = loaded.proto, loaded.label
    if proto.ir_version < OLDEST_IR:
        raise UserInputError(
            f"IR version {proto.ir_version} is too old; at least {OLDEST_IR} is needed",
            where=label,
            hint="export the model again with a newer ONNX (opset 13 or later)",
        )
    opset, newest = default_opset(proto), onnx.defs.onnx_opset_version()
    if opset == 0:
        raise UserInputError(
            "the model names no version of the default operator set (opset)",
            where=label,
            hint="export it again, or add one: model.opset_import.add(domain='', version=17)",
        )
    if opset > newest:
        raise UserInputError(
            f"opset {opset} is newer than the installed onnx package knows ({newest})",
            where=label,
            hint=f"export the model with opset {newest} or older",
        )
    if any(isinstance(name, bytes) for name in _texts(proto)):
        # protobuf hands out text that is not UTF-8 as bytes.
        raise UserInputError(
            "the ONNX file is damaged: it holds names that are not UTF-8 text",
            where=label,
            hint="copy or download it again, or export the model again",
        )
    if not proto.graph.node:
        raise UserInputError(
            "the graph is empty: it has no nodes", where=label, hint="export the model again"
        )
    if not proto.graph.output:
        raise UserInputError("the graph has no outputs", where=label, hint="export the model again")


def _texts(proto: onnx.ModelProto) -> Iterator[object]:
    """Yield every name in the model that later steps compare, sort or print."""
    for graph in walk_graphs(proto.graph):
        for value in (*graph.input, *graph.output):
            yield value.name
            yield from (dim.dim_param for dim in value.type.tensor_type.shape.dim)
        yield from (tensor.name for tensor in graph.initializer)
        for node in graph.node:
            yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
            yield from (attribute.name for attribute in node.attribute)
    yield from (entry.domain for entry in proto.opset_import)


def _not_onnx(label: str) -> UserInputError:
    return UserInputError(
        "not an ONNX file", where=label, hint="give a model exported to ONNX (a .onnx file)"
    )


def _too_large(label: str, size: int) -> UserInputError:
    return UserInputError(
        f"the model takes {size} bytes, over protobuf's limit of 2 GB",
        where=label,
        hint="keep its weights outside: onnx.save(model, path, save_as_external_data=True)",
    )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
