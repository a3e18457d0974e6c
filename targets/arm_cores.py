"""Arm cores by the number in their ID register (MIDR_EL1), as /proc/cpuinfo shows it.

Implementer and part number are from Arm's and the vendors' reference manuals; the names are LLVM's.
Cores that LLVM does not know stand here as what they were derived from.
"""

from __future__ import annotations

from dataclasses import dataclass

ARM, HISILICON, NVIDIA, QUALCOMM, SAMSUNG = 0x41, 0x48, 0x4E, 0x51, 0x53

_CORES = {
    (ARM, 0xD02): "cortex-a34",
    (ARM, 0xD03): "cortex-a53",
    (ARM, 0xD04): "cortex-a35",
    (ARM, 0xD05): "cortex-a55",
    (ARM, 0xD06): "cortex-a65",
    (ARM, 0xD07): "cortex-a57",
    (ARM, 0xD08): "cortex-a72",
    (ARM, 0xD09): "cortex-a73",
    (ARM, 0xD0A): "cortex-a75",
    (ARM, 0xD0B): "cortex-a76",
    (ARM, 0xD0C): "neoverse-n1",
    (ARM, 0xD0D): "cortex-a77",
    (ARM, 0xD0E): "cortex-a76ae",
    (ARM, 0xD40): "neoverse-v1",
    (ARM, 0xD41): "cortex-a78",
    (ARM, 0xD42): "cortex-a78ae",
    (ARM, 0xD44): "cortex-x1",
    (ARM, 0xD46): "cortex-a510",
    (ARM, 0xD47): "cortex-a710",
    (ARM, 0xD48): "cortex-x2",
    (ARM, 0xD49): "neoverse-n2",
    (ARM, 0xD4A): "neoverse-e1",
    (ARM, 0xD4B): "cortex-a78c",
    (ARM, 0xD4C): "cortex-x1c",
    (ARM, 0xD4D): "cortex-a715",
    (ARM, 0xD4E): "cortex-x3",
    (ARM, 0xD4F): "neoverse-v2",
    (ARM, 0xD80): "cortex-a520",
    (ARM, 0xD81): "cortex-a720",
    (ARM, 0xD82): "cortex-x4",
    (ARM, 0xD83): "neoverse-v3ae",
    (ARM, 0xD84): "neoverse-v3",
    (ARM, 0xD85): "cortex-x925",
    (ARM, 0xD87): "cortex-a725",
    (ARM, 0xD88): "cortex-a520ae",
    (ARM, 0xD89): "cortex-a720ae",
    (ARM, 0xD8A): "c1-nano",
    (ARM, 0xD8B): "c1-pro",
    (ARM, 0xD8C): "c1-ultra",
    (ARM, 0xD8E): "neoverse-n3",
    (ARM, 0xD8F): "cortex-a320",
    (ARM, 0xD90): "c1-premium",
    (HISILICON, 0xD01): "tsv110",
    (HISILICON, 0xD40): "cortex-a76",
    (NVIDIA, 0x004): "carmel",
    (QUALCOMM, 0x001): "oryon-1",
    (QUALCOMM, 0x002): "oryon-1",
    (QUALCOMM, 0x201): "kryo",
    (QUALCOMM, 0x205): "kryo",
    (QUALCOMM, 0x211): "kryo",
    (QUALCOMM, 0x800): "cortex-a73",
    (QUALCOMM, 0x801): "cortex-a53",
    (QUALCOMM, 0x802): "cortex-a75",
    (QUALCOMM, 0x803): "cortex-a55",
    (QUALCOMM, 0x804): "cortex-a76",
    (QUALCOMM, 0x805): "cortex-a55",
    (SAMSUNG, 0x002): "exynos-m3",
    (SAMSUNG, 0x003): "exynos-m4",
    (SAMSUNG, 0x004): "exynos-m5",
}
# In-order cores, made to save energy: a network runs faster without them.
_LITTLE = (
    "c1-nano cortex-a320 cortex-a34 cortex-a35 cortex-a510 cortex-a520 cortex-a520ae cortex-a53 "
    "cortex-a55"
)
LITTLE_CORES = frozenset(_LITTLE.split())


@dataclass(frozen=True)
class ArmCore:
    """One kind of core.

    Attributes
    ----------
    implementer, part
        The fields of MIDR_EL1.
    """

    implementer: int
    part: int

    @property
    def llvm_name(self) -> str | None:
        """LLVM's name of the core, None where we know of none."""
        return _CORES.get((self.implementer, self.part))

    @property
    def is_little(self) -> bool:
        """Whether it is one of the cores that save energy."""
        return self.llvm_name in LITTLE_CORES

    def __str__(self) -> str:
        return self.llvm_name or f"core {self.implementer:#04x}/{self.part:#05x}"


def llvm_names() -> frozenset[str]:
    """All names that the table gives."""
    return frozenset(_CORES.values())
