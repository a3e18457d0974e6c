"""The list of devices, and the targets that were made for them."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from autoglm_tvm.rpc.devices.read_facts import parse_facts
from autoglm_tvm.rpc.devices.registry import (
    Device,
    devices_of,
    forget_device,
    load_devices,
    registry_path,
    save_device,
)
from autoglm_tvm.targets.device_presets import (
    device_presets,
    forget_device_preset,
    save_device_preset,
)
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.presets import get_preset, load_presets
from autoglm_tvm.targets.target import resolve_target
from tests.devices.adbd.file_system import cpuinfo


def device(key: str) -> Device:
    facts = parse_facts(f"@@@machine\naarch64\n@@@/proc/cpuinfo\n{cpuinfo([0xD05])}")
    return Device(key, f"S{key}", "127.0.0.1:9190", 9190, 9300, "glibc", "", "x", facts)


def _save(key: str) -> None:
    save_device(device(key))


def test_devices_are_kept_found_and_forgotten(settings: Path) -> None:
    assert load_devices() == []
    save_device(device("one"))
    save_device(device("two"))
    save_device(replace(device("one"), port=9301))
    assert load_devices() == [replace(device("one"), port=9301), device("two")]
    twin = replace(device("one"), serial="S3")
    save_device(twin)
    assert len(devices_of("one")) == 2
    assert devices_of("one", "S3") == [twin]
    with pytest.raises(UserInputError, match="no phone of serial 'S4' was added as 'one'"):
        devices_of("one", "S4")
    assert registry_path().parent == settings
    with pytest.raises(UserInputError, match=r"no device 'oen'.*did you mean 'one'"):
        devices_of("oen")
    forget_device("Sone")
    forget_device("never")
    assert load_devices() == [twin, device("two")]


def test_several_processes_write_at_once(settings: Path) -> None:
    keys = [f"d{number}" for number in range(12)]
    with multiprocessing.get_context("fork").Pool(4) as pool:
        pool.map(_save, keys)
    assert sorted(found.key for found in load_devices()) == sorted(keys)
    assert [path.name for path in settings.iterdir() if not path.name.startswith(".")] == [
        "devices.json"
    ]


@pytest.mark.parametrize("text", ["", "[]", '{"version": 9, "devices": []}', '{"version": 1}'])
def test_a_damaged_list_is_told(settings: Path, text: str) -> None:
    save_device(device("one"))
    registry_path().write_text(text)
    with pytest.raises(UserInputError, match="cannot read the list of your devices") as caught:
        load_devices()
    assert "device add" in caught.value.hint


def test_a_made_target_is_a_target(settings: Path) -> None:
    made = replace(load_presets()["android-arm64"], name="my-phone", threads=3)
    save_device_preset(made)
    assert get_preset("my-phone") == made
    assert resolve_target("my-phone").threads == 3
    with pytest.raises(UserInputError, match=r"unknown target 'my-phon'.*'my-phone'"):
        get_preset("my-phon")
    forget_device_preset("my-phone")
    forget_device_preset("never")
    assert device_presets() == {}


@pytest.mark.parametrize("text", ["", "[1]", '{"a": {}}', '{"a": 1}'])
def test_damaged_targets_are_told(settings: Path, text: str) -> None:
    settings.mkdir()
    (settings / "targets.json").write_text(text)
    with pytest.raises(UserInputError, match="cannot read the targets of your devices"):
        get_preset("my-phone")
    assert get_preset("host").is_native
