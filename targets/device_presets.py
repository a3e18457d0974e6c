"""Presets that were made for this user's devices: a JSON file in the configuration folder."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path

from autoglm_tvm.targets.config_folder import config_root
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.locked_file import locked, write_atomically
from autoglm_tvm.targets.preset import Preset

_FILE = "targets.json"


def device_presets() -> dict[str, Preset]:
    """Return them by name.

    Raises
    ------
    UserInputError
        The file was damaged.
    """
    path = _path()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        raise _damaged(path, str(error)) from error
    names = {field.name for field in fields(Preset)}
    try:
        if any(set(entry) != names for entry in content.values()):
            raise ValueError("a target lacks a field, or has one too many")
        lists = ("features", "needed")
        return {
            name: Preset(**(entry | {key: tuple(entry[key]) for key in lists}))
            for name, entry in content.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def save_device_preset(preset: Preset) -> None:
    """Add a preset, or replace the one of its name."""
    with locked(_path()):
        _write(device_presets() | {preset.name: preset})


def forget_device_preset(name: str) -> None:
    """Remove a preset; nothing happens where there is none."""
    if name not in device_presets():
        return
    with locked(_path()):
        left = device_presets()
        left.pop(name, None)
        _write(left)


def _path() -> Path:
    return config_root() / _FILE


def _write(presets: dict[str, Preset]) -> None:
    content = {name: asdict(preset) for name, preset in presets.items()}
    write_atomically(_path(), json.dumps(content, indent=1) + "\n")


def _damaged(path: Path, why: str) -> UserInputError:
    return UserInputError(
        f"cannot read the targets of your devices: {why}",
        where=str(path),
        hint="delete the file, and add the devices again: autoglm-tvm device add",
    )
