"""External weights: mapped, never read as a whole, and checked before anything else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from autoglm_tvm.compiler.frontend.load import load
from autoglm_tvm.compiler.frontend.weights import ALWAYS_INSIDE, detach_weights
from autoglm_tvm.compiler.read import read
from autoglm_tvm.targets.errors import UserInputError
from tests.compiler.models import run


def external_model(
    shape: tuple[int, int], location: str = "weights.bin", *, offset: int = 0
) -> onnx.ModelProto:
    """y = x @ w, where w lies in a file of its own."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=shape)
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="offset", value=str(offset))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, shape[0]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, shape[1]])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weight_becomes_an_input_backed_by_its_file(tmp_path):
    values = np.arange(32 * 16, dtype=np.float32).reshape(32, 16)
    (tmp_path / "weights.bin").write_bytes(b"\0" * 6 + values.tobytes())
    result = read(write(external_model((32, 16), offset=6), tmp_path))
    assert [spec.name for spec in result.inputs] == ["x"]
    assert [value.name for value in result.proto.graph.input] == ["x", "w"]
    assert not result.proto.graph.initializer
    np.testing.assert_array_equal(result.weights["w"], values)
    assert not result.weights["w"].flags.writeable
    x = np.ones((1, 32), dtype=np.float32)
    expected = x @ values
    np.testing.assert_allclose(run(result.proto, {"x": x, **result.weights})[0], expected)


def test_small_external_weight_is_taken_inside(tmp_path):
    values = np.ones((2, 3), dtype=np.float32)
    assert values.nbytes < ALWAYS_INSIDE
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    result = read(write(external_model((2, 3)), tmp_path))
    assert not result.weights
    assert [tensor.name for tensor in result.proto.graph.initializer] == ["w"]


def test_weights_inside_are_detached_above_the_limit(tmp_path):
    values = np.ones((32, 16), dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    model = onnx.load(write(external_model((32, 16)), tmp_path))
    assert not read(model).weights
    assert list(read(model, detach_above=100).weights) == ["w"]


@pytest.mark.parametrize(
    ("location", "content", "expected"),
    [
        ("gone.bin", None, "which is missing"),
        ("../weights.bin", None, "outside the model's folder"),
        ("/etc/hostname", None, "outside the model's folder"),
        ("short.bin", b"\0" * 100, "too short: it needs 2048 bytes"),
    ],
)
def test_bad_external_data(tmp_path, location, content, expected):
    if content is not None:
        (tmp_path / location).write_bytes(content)
    with pytest.raises(UserInputError) as caught:
        read(write(external_model((32, 16), location), tmp_path))
    assert expected in str(caught.value)
    assert "tensor 'w'" in str(caught.value)
    assert Path(location).name in str(caught.value)


def test_external_link_out_of_the_folder(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 2048)
    (tmp_path / "inside" / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(UserInputError, match="outside the model's folder"):
        read(write(external_model((32, 16)), tmp_path / "inside"))


def test_model_without_a_file_cannot_have_external_data():
    with pytest.raises(UserInputError, match="give the path"):
        read(external_model((32, 16)))


def test_external_data_of_a_constant_node_is_read(tmp_path):
    values = np.ones((4, 4), dtype=np.float32)
    (tmp_path / "weights.bin").write_bytes(values.tobytes())
    model = external_model((4, 4))
    tensor = model.graph.initializer.pop()
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=tensor))
    loaded = load(write(model, tmp_path))
    detach_weights(loaded.proto, loaded.folder, loaded.label)
    assert loaded.proto.graph.node[0].attribute[0].t.raw_data == values.tobytes()


READ_AND_PRINT_PEAK = """
import resource, sys
from autoglm_tvm.compiler.read import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
import onnx, onnxruntime, onnxslim, numpy, tvm
ready = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = read(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(result.weights["w"].nbytes, (after - ready) // 1024)
"""


def test_more_than_two_gigabytes_are_read_lazily(tmp_path):
    """The data file is sparse: reading it whole would take 2.2 GB of memory."""
    shape = (2**14, 2**15 + 2**12)
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(shape[0] * shape[1] * 4)
    path = write(external_model(shape), tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", READ_AND_PRINT_PEAK, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    nbytes, grown_mib = map(int, done.stdout.split())
    assert nbytes == shape[0] * shape[1] * 4 > 2**31
    assert grown_mib < 200
