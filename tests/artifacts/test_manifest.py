"""A manifest survives being written and read, and is refused when anything in it was changed."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from typing import Any

import pytest

from autoglm_tvm.artifacts.manifest import (
    FORMAT,
    FileEntry,
    KernelEntry,
    Manifest,
    Memory,
    WeightEntry,
)
from autoglm_tvm.artifacts.tensor_spec import TensorSpec
from autoglm_tvm.targets.errors import CheckFailedError

WHERE = "bundle/manifest.json"
MANIFEST = Manifest(
    name="net",
    target={"name": "android-arm64", "threads": 4, "features": ["+dotprod"], "api_level": None},
    abi={"apache-tvm": "0.27.0.post1"},
    library="libnet.so",
    inputs=(TensorSpec("图像:0", "float32", ("batch", 3, 48)), TensorSpec("n", "int64", ())),
    outputs=(TensorSpec("y", "bfloat16", (1, "length")),),
    weights=(
        WeightEntry("weight_0", "float32", (8, 4), 0, 128),
        WeightEntry("e", "bool", (), 0, 1),
    ),
    memory=Memory(128, None),
    kernels=(
        KernelEntry(
            "fused_matmul_add",
            ("matmul", "add"),
            "sum",
            rule="outer-parallel",
            description="1 of 1 loop nests on all threads",
            closest_rule="contraction",
            refusal="its sizes are symbolic",
            inner=("product",),
            arguments=("float32[batch, 8]", "float32[8, 4]", "float32[batch, 4]"),
            iterations=None,
        ),
        KernelEntry("sort", (), "", "", "it has no loops", iterations=7),
    ),
    linker={},
    elf_check={"ok": True, "checks": [{"name": "machine", "ok": True}]},
    model_sha256="ab" * 32,
    dimensions={"batch": {"min": 1, "max": None}},
    quantization={"scheme": "int8"},
    files={"libnet.so": FileEntry(10, "cd" * 32)},
    entry="decode",
)
# Another value for each field.
OTHER: dict[str, Any] = {
    "name": "other",
    "target": {**MANIFEST.target, "threads": 5},
    "abi": {},
    "library": "libother.so",
    "inputs": MANIFEST.inputs[::-1],
    "outputs": (),
    "weights": MANIFEST.weights[:1],
    "memory": Memory(128, 0),
    "kernels": (),
    "linker": {"linker": "gnu"},
    "elf_check": {"ok": False},
    "model_sha256": "",
    "dimensions": {"batch": {"min": 1, "max": 8}},
    "quantization": None,
    "files": {"libnet.so": FileEntry(10, "ce" * 32)},
    "entry": "main",
    "format": "autoglm-tvm-bundle/2",
}


def test_what_is_written_is_read_back() -> None:
    text = MANIFEST.to_json()
    again = Manifest.from_json(text, WHERE)
    assert again == MANIFEST
    assert again.to_json() == text
    # Frozen dataclasses with lists in them would be equal to nothing: the types are right too.
    assert isinstance(again.inputs[0].shape, tuple)
    for name in ("operators", "inner", "arguments"):
        assert isinstance(getattr(again.kernels[0], name), tuple)


def test_a_schedule_in_one_line() -> None:
    taken, left = MANIFEST.kernels
    assert taken.schedule == (
        "outer-parallel: 1 of 1 loop nests on all threads; not contraction: its sizes are symbolic"
    )
    assert left.schedule == "unscheduled: it has no loops"


def test_a_kernel_of_an_older_program_is_refused() -> None:
    content = json.loads(MANIFEST.to_json())
    del content["manifest_sha256"]
    for kernel in content["kernels"]:
        kernel["schedule"] = kernel.pop("rule")
        del kernel["arguments"]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    content["manifest_sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    with pytest.raises(CheckFailedError, match="lacks a field") as caught:
        Manifest.from_json(json.dumps(content), WHERE)
    assert "compile the model again" in caught.value.hint


def test_the_text_does_not_depend_on_the_order_of_keys() -> None:
    turned = replace(MANIFEST, target=dict(reversed(MANIFEST.target.items())))
    assert turned.to_json() == MANIFEST.to_json()


@pytest.mark.parametrize("name", [field.name for field in fields(Manifest)])
def test_a_changed_field_is_refused(name: str) -> None:
    changed = replace(MANIFEST, **{name: OTHER[name]})
    content = json.loads(changed.to_json())
    content["manifest_sha256"] = json.loads(MANIFEST.to_json())["manifest_sha256"]
    with pytest.raises(CheckFailedError) as caught:
        Manifest.from_json(json.dumps(content), WHERE)
    assert caught.value.where == WHERE
    assert ("changed after" in caught.value.what) == (name != "format")


@pytest.mark.parametrize("name", [field.name for field in fields(Manifest)])
def test_a_missing_field_is_refused(name: str) -> None:
    content = json.loads(MANIFEST.to_json())
    del content[name]
    with pytest.raises(CheckFailedError):
        Manifest.from_json(json.dumps(content), WHERE)


def test_another_format_is_named() -> None:
    text = replace(MANIFEST, format="autoglm-tvm-bundle/9").to_json()
    with pytest.raises(CheckFailedError, match="autoglm-tvm-bundle/9") as caught:
        Manifest.from_json(text, WHERE)
    assert FORMAT in caught.value.what
    assert "compile the model again" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", '"text"', "{}", '{"format": 1}', "\x00\x01", "[" * 99]
)
def test_text_that_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(CheckFailedError, match="not a bundle's manifest"):
        Manifest.from_json(text, WHERE)


def test_a_truncated_manifest_is_refused() -> None:
    text = MANIFEST.to_json()
    for length in range(0, len(text) - 1, 37):
        with pytest.raises(CheckFailedError):
            Manifest.from_json(text[:length], WHERE)
