"""An arm64 phone without a phone: the device server, built for arm64 Linux, under qemu.

Its CPU can be chosen, so that a test can ask for one that lacks an instruction. Libraries that were
linked for Android load there too: they name ``libc.so`` and ``libm.so``, which the emulated phone
has as empty files, and find the functions in glibc.
"""

from __future__ import annotations

import shutil
import subprocess
import uuid
from pathlib import Path

from autoglm_tvm.rpc.cache import cached_folder
from autoglm_tvm.rpc.device_build import build_device_server
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.targets.errors import MissingToolError

DEBIAN_PACKAGES = "qemu-user-static g++-aarch64-linux-gnu libc6-dev-arm64-cross"
SYSROOT = Path("/usr/aarch64-linux-gnu")
QEMU = "qemu-aarch64-static"
_CC = "aarch64-linux-gnu-gcc"


class EmulatedPhone(DeviceProcess):
    """An emulated phone, at a tracker of its own or at one that runs already; a context manager.

    Parameters
    ----------
    cpu
        A CPU that qemu knows: ``max`` has all features, ``cortex-a53`` is plain ARMv8.0,
        ``cortex-a76`` is ARMv8.2 with dot product.
    key
        The device's key at the tracker; by default one that nobody else has.
    shims
        Whether libraries that were linked for Android load; without, it is an arm64 Linux board.
    options
        More options of the device server.
    tracker
        ``HOST:PORT`` of a tracker that somebody else runs; without, a new one that ends with us.

    Raises
    ------
    MissingToolError
        qemu, the cross compiler or arm64 wheels of TVM are missing; the message has the command.
    """

    def __init__(
        self,
        cpu: str = "max",
        key: str | None = None,
        *,
        shims: bool = True,
        options: tuple[str, ...] = (),
        tracker: str | None = None,
    ) -> None:
        require_tools()
        runner = [QEMU, "-cpu", cpu, "-L", str(SYSROOT)]
        if shims:
            runner += ["-E", f"LD_LIBRARY_PATH={android_libc_shims()}"]
        server = build_device_server("linux-arm64")
        name = key or f"phone-{uuid.uuid4().hex[:8]}"
        super().__init__(server, name, runner, options, tracker)
        self.cpu = cpu


def require_tools() -> None:
    """Raise `MissingToolError` unless everything from Debian is there."""
    missing = [tool for tool in (QEMU, _CC, "aarch64-linux-gnu-g++") if not shutil.which(tool)]
    if not (SYSROOT / "lib" / "ld-linux-aarch64.so.1").exists():
        missing.append(f"the arm64 C library below {SYSROOT}")
    if missing:
        raise MissingToolError(
            f"the emulated phone lacks {', '.join(missing)}",
            hint=f"apt-get install {DEBIAN_PACKAGES}",
        )


def android_libc_shims() -> Path:
    """Return a folder with empty arm64 libraries ``libc.so`` and ``libm.so``."""
    return cached_folder("android-libc-shims-aarch64", _build_shims)


def _build_shims(folder: Path) -> None:
    for name in ("libc.so", "libm.so"):
        subprocess.run(
            [
                *[_CC, "-shared", "-nostdlib", f"-Wl,-soname,{name}"],
                *["-x", "c", "/dev/null", "-o", str(folder / name)],
            ],
            check=True,
            timeout=60,
        )
