"""Ask a phone for its facts, in one call to its shell, and read the answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from autoglm_tvm.rpc.adb.phone import Phone
from autoglm_tvm.rpc.devices.facts import Core, DeviceFacts
from autoglm_tvm.rpc.devices.folder import FOLDER
from autoglm_tvm.targets.arm_cores import ArmCore

_MARK = "@@@"
_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system/cpu/cpu*/cpufreq/cpuinfo_max_freq",
    "/sys/devices/system/cpu/cpu*/regs/identification/midr_el1",
    "/sys/class/kgsl/kgsl-3d0/gpu_model",
    "/sys/class/misc/mali0/device/gpuinfo",
)
_PARENT = FOLDER.rpartition("/")[0]
_COMMANDS = {
    "properties": "getprop",
    "machine": "uname -m",
    "kernel": "uname -r",
    "page": "getconf PAGE_SIZE || getconf PAGESIZE",
    "storage": f"df -k {_PARENT}",
    "drivers": "ls /vendor/lib64 /vendor/lib64/egl /vendor/lib64/hw /system/vendor/lib64",
}
_SCRIPT = "; ".join(
    [
        *(
            f"echo '{_MARK}{name}'; {{ {command}; }} 2>/dev/null"
            for name, command in _COMMANDS.items()
        ),
        f"for f in {' '.join(_FILES)}; do "
        f'[ -r $f ] && echo "{_MARK}$f" && cat $f 2>/dev/null; done',
        "true",
    ]
)
_ARCHES = {"aarch64": "aarch64", "arm64": "aarch64", "x86_64": "x86_64"}


def read_facts(phone: Phone) -> DeviceFacts:
    """Ask a phone what it is.

    Raises
    ------
    MissingToolError
        It does not answer.
    """
    return parse_facts(phone.shell(_SCRIPT, doing="asking the phone what it is", timeout_s=60))


def parse_facts(text: str) -> DeviceFacts:
    """Read what the phone's shell printed; what is missing stays empty or 0."""
    parts = _split(text)
    properties = dict(re.findall(r"^\[(.*?)\]: \[(.*?)\]", parts.get("properties", ""), re.M))

    def first(*names: str) -> str:
        return next((properties[name] for name in names if properties.get(name)), "")

    cpuinfo = parts.get("/proc/cpuinfo", "")
    gpu, interfaces = _gpu(parts, properties)
    return DeviceFacts(
        manufacturer=first("ro.product.manufacturer", "ro.product.vendor.manufacturer"),
        model=first("ro.product.model", "ro.product.vendor.model"),
        soc=_soc(first, cpuinfo),
        arch=_ARCHES.get(parts.get("machine", "").strip(), parts.get("machine", "").strip()),
        android=first("ro.build.version.release"),
        api_level=_number(first("ro.build.version.sdk")),
        kernel=parts.get("kernel", "").strip(),
        page_size=_number(parts.get("page", "")) or 4096,
        memory_mib=_number(_after("MemTotal:", parts.get("/proc/meminfo", ""))) // 1024,
        free_storage_mib=_free_mib(parts.get("storage", "")),
        cores=_cores(cpuinfo, parts),
        features=_features(cpuinfo),
        gpu=gpu,
        gpu_interfaces=interfaces,
    )


def _split(text: str) -> dict[str, str]:
    """Return what stands behind each mark, by the mark's name."""
    pieces = text.replace("\r\n", "\n").split(_MARK)[1:]
    return {name: rest for name, _, rest in (piece.partition("\n") for piece in pieces)}


def _soc(first: Callable[..., str], cpuinfo: str) -> str:
    maker, model = first("ro.soc.manufacturer"), first("ro.soc.model")
    if model:
        return f"{maker} {model}".strip()
    return first("ro.board.platform") or _after("Hardware\t:", cpuinfo) or first("ro.hardware")


def _cores(cpuinfo: str, parts: dict[str, str]) -> tuple[Core, ...]:
    found: dict[int, ArmCore | None] = {}
    for block in cpuinfo.split("\n\n"):
        number = re.search(r"^processor\s*:\s*(\d+)", block, re.M)
        if number is None:
            continue
        ids = [
            re.search(rf"^CPU {field}\s*:\s*(0x[0-9a-fA-F]+)", block, re.M)
            for field in ("implementer", "part")
        ]
        values = [int(match[1], 16) for match in ids if match]
        found[int(number[1])] = ArmCore(*values) if len(values) == 2 else None
    cores = []
    for number, core in sorted(found.items()):
        base = f"/sys/devices/system/cpu/cpu{number}"
        midr = parts.get(f"{base}/regs/identification/midr_el1", "").strip()
        if midr:
            value = int(midr, 16)
            core = ArmCore(value >> 24 & 0xFF, value >> 4 & 0xFFF)
        mhz = _number(parts.get(f"{base}/cpufreq/cpuinfo_max_freq", "")) // 1000
        name = str(core) if core else "unknown core"
        cores.append(Core(number, name, mhz or None, core is not None and core.is_little))
    return tuple(cores)


def _features(cpuinfo: str) -> tuple[str, ...]:
    """Feature words that every core has (``Features`` of Arm, ``flags`` of x86), sorted."""
    lines: Iterable[str] = re.findall(r"^(?:Features|flags)\s*:(.*)$", cpuinfo, re.M)
    sets = [frozenset(line.split()) for line in lines]
    return tuple(sorted(frozenset.intersection(*sets))) if sets else ()


def _gpu(parts: dict[str, str], properties: dict[str, str]) -> tuple[str, tuple[str, ...]]:
    model = parts.get("/sys/class/kgsl/kgsl-3d0/gpu_model", "").strip()
    mali = parts.get("/sys/class/misc/mali0/device/gpuinfo", "").strip()
    driver = properties.get("ro.hardware.vulkan") or properties.get("ro.hardware.egl", "")
    drivers = parts.get("drivers", "")
    interfaces = []
    if "libOpenCL" in drivers or "libGLES_mali" in drivers or "libPVROCL" in drivers:
        interfaces.append("OpenCL")
    if "vulkan." in drivers or properties.get("ro.hardware.vulkan"):
        interfaces.append("Vulkan")
    if version := _number(properties.get("ro.opengles.version", "")):
        interfaces.append(f"OpenGL ES {version >> 16}.{version & 0xFFFF}")
    return model or mali or driver, tuple(interfaces)


def _free_mib(df: str) -> int:
    """Return the fourth column of df's last line, in MiB."""
    rows = [line.split() for line in df.strip().splitlines()]
    return _number(rows[-1][3]) // 1024 if len(rows) > 1 and len(rows[-1]) > 3 else 0


def _after(label: str, text: str) -> str:
    match = re.search(rf"^{re.escape(label)}(.*)$", text, re.M)
    return match[1].strip() if match else ""


def _number(text: str) -> int:
    match = re.match(r"\s*(\d+)", text)
    return int(match[1]) if match else 0
