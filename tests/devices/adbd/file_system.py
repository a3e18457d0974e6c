"""What a simulated phone shows of itself: properties, /proc, /sys, drivers, a few tools."""

from __future__ import annotations

from pathlib import Path

PROPERTIES = {
    "ro.build.version.release": "14",
    "ro.build.version.sdk": "34",
    "ro.board.platform": "zuma",
    "ro.hardware.egl": "mali",
    "ro.hardware.vulkan": "mali",
    "ro.opengles.version": "196610",
    "ro.product.cpu.abilist64": "arm64-v8a",
    "ro.product.manufacturer": "Maker",
    "ro.product.model": "Test Phone 8",
    "ro.product.name": "testphone",
    "ro.soc.manufacturer": "Maker",
    "ro.soc.model": "Chip 3",
}
# Four Cortex-A55 and four Cortex-A76: the features are those of qemu's cortex-a76.
FEATURES = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop "
    "asimddp ssbs"
)
LITTLE, BIG = 0xD05, 0xD0B
_CORE = """processor\t: {number}
BogoMIPS\t: 49.15
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {part:#05x}
CPU revision\t: 0

"""
_TOOLS = {
    "uname": '#!/bin/sh\n[ "$1" = -m ] && echo aarch64 || echo 6.1.75-android14-11\n',
    "df": "#!/bin/sh\necho 'Filesystem 1K-blocks Used Available Use% Mounted on'\n"
    "echo '/dev/block/dm-9 115249236 20131220 95118016 18% /data'\n",
    "getconf": "#!/bin/sh\necho 4096\n",
}


def cpuinfo(parts: list[int], features: str = FEATURES) -> str:
    """Return /proc/cpuinfo of a phone with cores of these part numbers, all by Arm."""
    cores = [
        _CORE.format(number=number, features=features, part=part)
        for number, part in enumerate(parts)
    ]
    return "".join(cores)


def make_file_system(root: Path, properties: dict[str, str]) -> Path:
    """Write a phone's file system; return the folder of its tools.

    What is there already stays, so that a phone can be started again.
    """
    tools = root.parent / "tools"
    if tools.is_dir():
        return tools
    parts = [LITTLE] * 4 + [BIG] * 4
    files = {
        "proc/cpuinfo": cpuinfo(parts),
        "proc/meminfo": "MemTotal:        7654321 kB\nMemFree:          123456 kB\n",
        "vendor/lib64/libOpenCL.so": "",
        "vendor/lib64/hw/vulkan.mali.so": "",
        "sys/class/misc/mali0/device/gpuinfo": "Mali-G715 7 cores r0p1 0xB8A2\n",
    }
    for number, part in enumerate(parts):
        speed = 1_704_000 if part == LITTLE else 2_367_000
        files[f"sys/devices/system/cpu/cpu{number}/cpufreq/cpuinfo_max_freq"] = f"{speed}\n"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "data/local/tmp").mkdir(parents=True)
    tools.mkdir(parents=True)
    rows = "".join(f"[{name}]: [{value}]\n" for name, value in sorted(properties.items()))
    (tools / "properties").write_text(rows)
    scripts = _TOOLS | {"getprop": f"#!/bin/sh\ncat {tools}/properties\n"}
    for name, content in scripts.items():
        (tools / name).write_text(content)
        (tools / name).chmod(0o755)
    return tools
