"""Fixtures: a device server for this machine, which starts faster than an emulated one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autoglm_tvm.rpc.device_build import build_device_server
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.session import DeviceSession, connect
from tests.rpc.c_module import build_c_module


@pytest.fixture(scope="session")
def server_folder() -> Path:
    """The device server, built for this machine."""
    return build_device_server("host")


@pytest.fixture(scope="module")
def device(server_folder: Path) -> Iterator[DeviceProcess]:
    """A running device server with a tracker of its own."""
    with DeviceProcess(server_folder, "test-device") as process:
        yield process


@pytest.fixture
def session(device: DeviceProcess) -> Iterator[DeviceSession]:
    """A session on the device."""
    with connect(device.tracker, device.key) as opened:
        yield opened


@pytest.fixture
def load_c(tmp_path: Path) -> Callable[[DeviceSession, str], Callable[[], None]]:
    """Return a function that gives the device C code and returns the remote function."""

    def load(session: DeviceSession, body: str) -> Callable[[], None]:
        library = build_c_module(tmp_path, body)
        session.remote.upload(str(library), library.name)
        return session.remote.load_module(library.name)["f"]

    return load
