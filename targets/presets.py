"""The target presets: `presets.yaml`, and what was made for the user's devices. Needs no TVM."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.device_presets import device_presets
from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean
from autoglm_tvm.targets.preset import Preset

PRESETS_FILE = Path(__file__).with_name("presets.yaml")


@lru_cache(maxsize=1)
def load_presets() -> dict[str, Preset]:
    """The presets that come with us, by name, in the order of the file."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries: dict[str, dict[str, Any]] = yaml.load(PRESETS_FILE.read_bytes(), Loader=loader)
    return {name: _preset(name, entry) for name, entry in entries.items()}


def get_preset(name: str) -> Preset:
    """The preset called `name`, ours or of a device that was added (`device add --key name`).

    Raises a `UserInputError` that names near matches when there is none.
    """
    presets = load_presets()
    if name not in presets:
        presets = presets | device_presets()
    if name not in presets:
        raise UserInputError(
            f"unknown target '{name}'{did_you_mean(name, presets)}",
            where="--target",
            hint=f"choose one of: {', '.join(presets)} (`autoglm-tvm targets` describes them)",
        )
    return presets[name]


def _preset(name: str, entry: dict[str, Any]) -> Preset:
    lists: dict[str, Any] = {key: tuple(entry[key]) for key in ("features", "needed")}
    return Preset(name=name, **(entry | lists))
