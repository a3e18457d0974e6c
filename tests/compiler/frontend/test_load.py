"""Files that are no ONNX models, or only half of one."""

from __future__ import annotations

import onnx
import pytest

from autoglm_tvm.compiler.frontend.load import load
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import PERCEPTRON, parse, save


def refused(model: object) -> str:
    """Load `model`, which must be refused, and return the message."""
    with pytest.raises(UserInputError) as caught:
        load(model)  # type: ignore[arg-type]
    assert caught.value.exit_code == 2
    assert caught.value.hint
    return str(caught.value)


def test_text_is_not_onnx(tmp_path):
    path = tmp_path / "notes.onnx"
    path.write_text("these are my notes about the model\n" * 20)
    message = refused(path)
    assert "not an ONNX file" in message
    assert "notes.onnx" in message


@pytest.mark.parametrize(
    ("content", "explanation"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"PK\x03\x04rest of a zip archive", "torch.onnx.export"),
        (b"\x1c\x00\x00\x00TFL3 and so on", "TensorFlow Lite"),
    ],
)
def test_other_formats_are_named(tmp_path, content, explanation):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    message = refused(path)
    assert "not an ONNX file" in message
    assert explanation in message


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_truncated_file(tmp_path, keep):
    data = parse(PERCEPTRON).SerializeToString()
    path = tmp_path / "half.onnx"
    path.write_bytes(data[: int(len(data) * keep)])
    message = refused(path)
    assert "truncated or damaged" in message
    assert "half.onnx" in message


def test_names_that_are_no_text(tmp_path):
    data = parse(PERCEPTRON).SerializeToString().replace(b"hidden", b"hid\xf6en")
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    message = refused(path)
    assert "damaged" in message
    assert "UTF-8" in message


def test_empty_file(tmp_path):
    path = tmp_path / "empty.onnx"
    path.touch()
    assert "empty" in refused(path)


def test_missing_file(tmp_path):
    assert "no such model file" in refused(tmp_path / "absent.onnx")


def test_folder_lists_its_models(tmp_path):
    save(parse(PERCEPTRON), tmp_path, "inside.onnx")
    message = refused(tmp_path)
    assert "folder" in message
    assert "inside.onnx" in message


def test_empty_graph():
    model = parse(PERCEPTRON)
    del model.graph.node[:]
    assert "graph is empty" in refused(model)


def test_graph_without_outputs():
    model = parse(PERCEPTRON)
    del model.graph.output[:]
    assert "no outputs" in refused(model)


def test_old_ir_version():
    model = parse(PERCEPTRON)
    model.ir_version = 2
    message = refused(model)
    assert "IR version 2" in message
    assert "3" in message


def test_no_opset():
    model = parse(PERCEPTRON)
    del model.opset_import[:]
    assert "opset" in refused(model)


def test_opset_of_the_future():
    model = parse(PERCEPTRON)
    model.opset_import[0].version = 999
    assert "opset 999 is newer" in refused(model)


def test_file_over_two_gigabytes(tmp_path):
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 10)
    message = refused(path)
    assert "2 GB" in message
    assert "save_as_external_data" in message


def test_loaded_model_is_a_copy_with_the_hash_of_its_bytes(tmp_path):
    model = parse(PERCEPTRON)
    loaded = load(save(model, tmp_path))
    assert loaded.folder == tmp_path.resolve()
    assert loaded.proto == model
    assert load(model).sha256 == load(model).sha256
    assert load(model).proto is not model
    assert isinstance(loaded.proto, onnx.ModelProto)


@pytest.mark.parametrize("model", [123, None, b"model"])
def test_something_else_than_a_model(model):
    with pytest.raises(UserInputError, match=f"of type {type(model).__name__}"):
        read(model)
