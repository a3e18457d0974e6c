"""What a phone is: asked once over adb, kept with the device."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from autoglm_tvm.targets.errors import MissingToolError


@dataclass(frozen=True)
class Core:
    """One CPU core.

    Attributes
    ----------
    number
        As Linux counts.
    name
        LLVM's name, or implementer and part where it has none.
    max_mhz
        Highest frequency; None where the phone does not tell.
    little
        Whether it is one that saves energy.
    """

    number: int
    name: str
    max_mhz: int | None
    little: bool


@dataclass(frozen=True)
class DeviceFacts:
    """What a phone says of itself.

    Attributes
    ----------
    manufacturer, model, soc
        As a person knows them; empty where the phone does not tell.
    arch
        ``aarch64`` or ``x86_64``.
    android, api_level
        Android's version; empty and 0 where it is none.
    kernel
        Linux's version.
    page_size
        In bytes.
    memory_mib, free_storage_mib
        Main memory, and what is free where we put files.
    cores
        All cores that are online.
    features
        Linux's names of the CPU features that every core has.
    gpu
        The GPU and its driver, as far as files tell.
    gpu_interfaces
        ``OpenCL``, ``Vulkan``, ``OpenGL ES 3.2``: what there is a driver for.
    """

    manufacturer: str
    model: str
    soc: str
    arch: str
    android: str
    api_level: int
    kernel: str
    page_size: int
    memory_mib: int
    free_storage_mib: int
    cores: tuple[Core, ...]
    features: tuple[str, ...]
    gpu: str
    gpu_interfaces: tuple[str, ...]

    @property
    def name(self) -> str:
        """Manufacturer and model."""
        return f"{self.manufacturer} {self.model}".strip() or "unknown phone"

    @property
    def clusters(self) -> str:
        """The cores in one line, as in ``4x cortex-a55 1.8 GHz, 4x cortex-a76 2.4 GHz``."""
        kinds: dict[tuple[str, int | None], int] = {}
        for core in self.cores:
            kind = (core.name, core.max_mhz)
            kinds[kind] = kinds.get(kind, 0) + 1
        return ", ".join(
            f"{count}x {name}" + (f" {mhz / 1000:.1f} GHz" if mhz else "")
            for (name, mhz), count in kinds.items()
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` reads them back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DeviceFacts:
        """What `to_json` wrote.

        Raises
        ------
        KeyError, TypeError
            A field is missing.
        """
        values = {field.name: data[field.name] for field in fields(cls)}
        values["cores"] = tuple(Core(**core) for core in data["cores"])
        for name in ("features", "gpu_interfaces"):
            values[name] = tuple(data[name])
        return cls(**values)


def refuse_unfit(facts: DeviceFacts, where: str) -> None:
    """Raise `MissingToolError` for a phone that cannot run what we compile."""
    reason = ""
    if facts.arch not in ("aarch64", "x86_64"):
        reason = f"its architecture is {facts.arch or 'unknown'}; only 64-bit Arm and x86 can be"
    elif not facts.cores:
        reason = "it does not show its CPU (/proc/cpuinfo)"
    elif 0 < facts.api_level < 24:
        reason = f"it has Android {facts.android}; Android 7 (API level 24) is the oldest"
    if reason:
        raise MissingToolError(
            f"this phone cannot be used: {reason}", where=where, hint="take another phone"
        )
