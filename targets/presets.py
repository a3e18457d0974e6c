"""The target presets: `presets.yaml` read into dataclasses. Needs no TVM."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.near import did_you_mean

NATIVE = "native"
PRESETS_FILE = Path(__file__).with_name("presets.yaml")


@dataclass(frozen=True)
class Preset:
    """One entry of `presets.yaml`, where each field is explained.

    `page_size` is in bytes; `triple` lacks the API level, `full_triple` has it. In `host`,
    `native` and 0 stand for what is found on the machine.
    """

    name: str
    description: str
    triple: str
    arch: str
    abi: str
    api_level: int | None
    cpu: str
    features: tuple[str, ...]
    threads: int
    page_size: int
    layout: str
    needed: tuple[str, ...]
    examples: str

    @property
    def full_triple(self) -> str:
        """LLVM's triple with the API level, for example `aarch64-linux-android24`."""
        return self.triple if self.api_level is None else f"{self.triple}{self.api_level}"

    @property
    def is_native(self) -> bool:
        """Whether this is the machine that compiles."""
        return self.cpu == NATIVE


@lru_cache(maxsize=1)
def load_presets() -> dict[str, Preset]:
    """All presets by name, in the order of the file."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    entries: dict[str, dict[str, Any]] = yaml.load(PRESETS_FILE.read_bytes(), Loader=loader)
    return {name: _preset(name, entry) for name, entry in entries.items()}


def get_preset(name: str) -> Preset:
    """The preset called `name`; a `UserInputError` that names near matches when there is none."""
    presets = load_presets()
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
