"""What a `--target NAME` stands for."""

from __future__ import annotations

from dataclasses import dataclass

NATIVE = "native"


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
