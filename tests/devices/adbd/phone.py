"""A simulated phone: adbd around an emulated arm64 CPU, and a folder as its file system."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from types import TracebackType

from autoglm_tvm.rpc.process_group import stop_group
from tests.devices.adbd.adbd import mapped, processes_of
from tests.devices.adbd.file_system import PROPERTIES, make_file_system

SOURCES = Path(__file__).parent
_REPOSITORY = SOURCES.parents[2]
_GONE_TIMEOUT_S = 30


class SimulatedPhone:
    """A phone that adb can connect to over TCP; a context manager.

    Its adbd is a process of its own: TVM's client holds Python's lock while it waits for a device.

    Parameters
    ----------
    folder
        An empty folder for its file system and tools.
    cpu
        Its CPU, as qemu calls it.
    properties
        Properties (``getprop``) that differ from a usual phone's.
    authorized
        Whether it has allowed the computer to debug it.
    mute
        Whether it takes connections and never says a word.
    """

    def __init__(
        self,
        folder: Path,
        *,
        cpu: str = "cortex-a76",
        properties: dict[str, str] | None = None,
        authorized: bool = True,
        mute: bool = False,
    ) -> None:
        self.root = folder / "root"
        self._folder = folder
        self._cpu = cpu
        self._properties = PROPERTIES | (properties or {})
        self._options = [
            *([] if authorized else ["--unauthorized"]),
            *(["--mute"] if mute else []),
        ]
        self._mark = uuid.uuid4().hex
        # Each phone has a loopback address of its own.
        numbers = [random.randrange(1, 255) for _ in range(3)]
        self.address = "127." + ".".join(str(number) for number in numbers)
        self._environment: dict[str, str] = {}
        self._adbd: subprocess.Popen[str] | None = None
        self.port = 0

    @property
    def serial(self) -> str:
        """What adb calls it."""
        return f"127.0.0.1:{self.port}"

    @property
    def commands(self) -> str:
        """All commands that its shell was given."""
        path = self._folder / "commands.log"
        return path.read_text() if path.exists() else ""

    def __enter__(self) -> SimulatedPhone:
        tools = make_file_system(self.root, self._properties)
        self._environment = _environment(self._folder, tools, self._cpu, self.address, self._mark)
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def reboot(self) -> None:
        """Lose everything but the files: programs, reversed ports, adb's connection."""
        self._stop()
        self._start()

    def processes(self) -> list[int]:
        """Return the ids of the programs that run on the phone, without adbd."""
        own = self._adbd.pid if self._adbd is not None else 0
        return [process for process in processes_of(self._mark) if process != own]

    def local(self, path: str) -> Path:
        """Return where a path of the phone lies on this machine."""
        return Path(mapped(self.root, path))

    def _start(self) -> None:
        command = [
            *[sys.executable, "-m", "tests.devices.adbd.adbd", str(self.root), self.address],
            *[str(self._folder / "commands.log"), str(self.port), *self._options],
        ]
        self._adbd = subprocess.Popen(
            command,
            cwd=_REPOSITORY,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._adbd.stdout is not None
        self.port = int(self._adbd.stdout.readline())

    def _stop(self) -> None:
        assert self._adbd is not None
        assert self._adbd.stdin is not None
        stop_group(self._adbd)
        self._adbd.stdin.close()
        deadline = time.monotonic() + _GONE_TIMEOUT_S
        while running := self.processes():
            for process in running:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            assert time.monotonic() < deadline, f"{running} do not die"
            time.sleep(0.05)


def _environment(folder: Path, tools: Path, cpu: str, address: str, mark: str) -> dict[str, str]:
    """Return the environment of the phone's programs; builds the libraries that it preloads."""
    built = {}
    for name, compiler in (("exec_arm64", "gcc"), ("own_loopback", "aarch64-linux-gnu-gcc")):
        built[name] = folder / f"{name}.so"
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(built[name])]
        subprocess.run([*command, str(SOURCES / f"{name}.c"), "-ldl"], check=True, timeout=60)
    qemu = shutil.which("qemu-aarch64-static")
    assert qemu is not None, "apt-get install qemu-user-static"
    return {
        "PATH": f"{tools}:/usr/bin:/bin",
        "LD_PRELOAD": str(built["exec_arm64"]),
        "PHONE_QEMU": qemu,
        "PHONE_CPU": cpu,
        "PHONE_PRELOAD": str(built["own_loopback"]),
        "PHONE_ADDRESS": address,
        "PHONE_MARK": mark,
    }
