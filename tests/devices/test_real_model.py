"""The demo's network, compiled for Android, gives ONNX Runtime's numbers on the emulated phone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from autoglm_tvm.compiler.compile import compile
from autoglm_tvm.compiler.verify import verify
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError
from tests.devices.emulated_phone import EmulatedPhone

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def classifier() -> Path:
    """Return the text direction classifier that the package rapidocr carries."""
    # Found, not imported: the package itself needs libraries that the tests do not install.
    package = importlib.util.find_spec("rapidocr")
    assert package is not None, "run: pip install --no-deps -r tests/model-packages.txt"
    assert package.submodule_search_locations is not None
    folder = Path(next(iter(package.submodule_search_locations)))
    return folder / "models" / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"


@pytest.fixture(scope="module")
def bundle(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the classifier's bundle for android-arm64."""
    folder = tmp_path_factory.mktemp("bundles") / "classifier"
    return compile(classifier, "android-arm64", folder, {"x": (1, 3, 48, 192)}).directory


def test_it_is_right_layer_by_layer(
    emulated_phone: EmulatedPhone, classifier: Path, bundle: Path
) -> None:
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        result = verify(session.open_bundle(bundle), classifier, per_layer=True)
    assert result.outputs[0].relative <= TOLERANCE
    assert len(result.layers) > 30
    assert all(layer.relative <= TOLERANCE for layer in result.layers)


def test_it_runs_on_the_oldest_cpu(classifier: Path, bundle: Path) -> None:
    with EmulatedPhone(cpu="cortex-a53") as phone, connect(phone.tracker, phone.key) as session:
        result = verify(session.open_bundle(bundle), classifier)
    assert result.outputs[0].relative <= TOLERANCE


def test_a_library_for_another_machine_is_refused(
    emulated_phone: EmulatedPhone, small_bundle: Path
) -> None:
    with (
        connect(emulated_phone.tracker, emulated_phone.key) as session,
        pytest.raises(MissingToolError, match=r"refused loading libsmall\.so.*: ") as caught,
    ):
        session.open_bundle(small_bundle)
    assert "compiled for test" in caught.value.hint
