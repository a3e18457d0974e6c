"""`explain`: what it tells of a bundle and of a model, as text and as JSON."""

from __future__ import annotations

from pathlib import Path

from tests.cli.command_line import fails, snapshot, succeeds

SHAPE = ("--shape", "x=2,8")


def test_explain_a_bundle(phone_bundle: Path) -> None:
    before = snapshot(phone_bundle)
    text = succeeds("explain", phone_bundle).stdout
    for part in ("android-arm64", "kernels in", "contraction", "iterations"):
        assert part in text
    assert "fused_matmul" not in text
    whole = succeeds("explain", phone_bundle, "--all").stdout
    for part in ("fused_matmul", ": special", "matmul + add", "float32[2, 8]", "-> float32[2, 4]"):
        assert part in whole
    found = succeeds("explain", phone_bundle, "--json").json
    assert found["target"] == "android-arm64"
    (kernel,) = [item for item in found["kernels"] if "matmul" in item["function"]]
    assert kernel["rule"] == "contraction"
    assert kernel["tensors"] == ["y"]
    assert kernel["inner"] == ["product", "sum"]
    assert found["rules"]["contraction"] == 1
    assert snapshot(phone_bundle) == before


def test_explain_a_model(linear_model: Path) -> None:
    """It is compiled as far as the schedules; nothing is written."""
    before = snapshot(linear_model.parent)
    found = succeeds("explain", linear_model, *SHAPE, "--json").json
    assert found["target"] == "android-arm64"
    own = succeeds("explain", linear_model, *SHAPE, "--target", "host", "--json").json
    assert own["target"] == "host"
    assert own["rules"] == found["rules"]
    assert snapshot(linear_model.parent) == before


def test_explain_the_fallback(convolutions_model: Path) -> None:
    text = succeeds("explain", convolutions_model, "--layout", "NCHW").stdout
    assert ": fallback" in text
    for part in ("closest    contraction refused: ", "hint       ", "--layout NHWC"):
        assert part in text
    assert text.index("fused_conv2d") < text.index("softmax")


def test_explain_one_kernel(convolutions_bundle: Path) -> None:
    text = succeeds("explain", convolutions_bundle, "--tensor", "y").stdout
    assert "c1" not in text
    assert "kernels in" not in text
    text = succeeds("explain", convolutions_bundle, "--kernel", "*conv2d*").stdout
    assert "c1" in text
    assert "softmax:" not in text
    found = succeeds("explain", convolutions_bundle, "--tensor", "c1", "--json").json
    assert len(found["kernels"]) == 1


def test_explain_what_is_not_there(convolutions_bundle: Path, tmp_path: Path) -> None:
    fails(2, "explain", convolutions_bundle, "--tensor", "cc1", says="did you mean 'c1'")
    fails(2, "explain", convolutions_bundle, "--kernel", "gemm", says="no kernel's name fits")
    fails(2, "explain", convolutions_bundle, "--target", "host", says="compiled already")
    fails(2, "explain", tmp_path, says="no bundle", changes=tmp_path)
    fails(2, "explain", tmp_path / "none.onnx", says="none.onnx")


def test_explain_a_changed_bundle(own_bundle: Path) -> None:
    (own_bundle / "report.json").write_text("{}")
    fails(1, "explain", own_bundle, says="report.json")
