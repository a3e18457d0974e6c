"""The native device server: sessions, and everything that can go wrong in one."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.session import DeviceSession, connect
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError
from tests.rpc.c_module import HANGS, NOTHING, SEGFAULTS

LoadC = Callable[[DeviceSession, str], Callable[[], None]]


def until(true: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait until ``true()``."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.02)


def test_each_session_has_a_folder_that_goes_with_it(device: DeviceProcess) -> None:
    with connect(device.tracker, device.key) as session:
        session.remote.upload(bytearray(b"first"), "file")
        assert session.remote.download("file") == b"first"
        assert len(device.session_folders) == 1
    device.wait_until_registered()
    assert device.session_folders == []
    with connect(device.tracker, device.key) as session, pytest.raises(Exception, match="file"):
        session.remote.download("file")


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b", "..", ".", "x" * 300])
def test_a_file_name_that_leaves_the_folder_is_refused(
    device: DeviceProcess, session: DeviceSession, name: str
) -> None:
    before = sorted(device.folder.rglob("*"))
    for call in (
        lambda: session.remote.upload(bytearray(b"x"), name),
        lambda: session.remote.download(name),
        lambda: session.remote.remove(name),
        lambda: session.remote.load_module(name),
    ):
        with pytest.raises(MissingToolError, match="refused file name"), session.calls("a call"):
            call()
    assert sorted(device.folder.rglob("*")) == before
    assert device.server.poll() is None


def test_a_loaded_library_is_not_written_over(session: DeviceSession, load_c: LoadC) -> None:
    function = load_c(session, NOTHING)
    with pytest.raises(MissingToolError, match="another name"), session.calls("uploading"):
        session.remote.upload(bytearray(b"x"), "libf.so")
    function()


def test_a_crash_ends_the_session_and_not_the_server(device: DeviceProcess, load_c: LoadC) -> None:
    with (
        connect(device.tracker, device.key) as session,
        pytest.raises(MissingToolError, match=r"ended while running f: Segm.* \(signal 11\)"),
        session.calls("running f"),
    ):
        load_c(session, SEGFAULTS)()
    with connect(device.tracker, device.key) as session:
        load_c(session, NOTHING)()
    device.wait_until_registered()
    assert device.session_folders == []


def test_a_call_that_never_ends_is_broken_off(device: DeviceProcess, load_c: LoadC) -> None:
    with connect(device.tracker, device.key, call_timeout_s=1) as session:
        function = load_c(session, HANGS)
        with (
            pytest.raises(MissingToolError, match="did not answer within 1 s while running f"),
            session.calls("running f"),
        ):
            function()
    # The server kills what the client has left running, and lends the device again.
    device.wait_until_registered()
    assert "session killed" in device.log
    assert device.session_folders == []


def test_the_servers_own_limit_ends_a_session(server_folder: Path, load_c: LoadC) -> None:
    options = ("--session-limit", "3")
    with (
        DeviceProcess(server_folder, "limited", options=options) as device,
        connect(device.tracker, device.key) as session,
        pytest.raises(MissingToolError, match="time limit on the device passed while running f"),
        session.calls("running f"),
    ):
        load_c(session, HANGS)()


def test_strangers_do_not_disturb_the_server(device: DeviceProcess) -> None:
    port = int(device.log.split("listening on 127.0.0.1:")[1].split()[0])
    for greeting in (b"", b"GET / HTTP/1.1\r\n\r\n", struct.pack("<ii", 0xFF271, 1 << 30)):
        with socket.create_connection(("127.0.0.1", port)) as stranger:
            stranger.sendall(greeting)
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        word = b"client:test-device:0.5"
        stranger.sendall(struct.pack("<ii", 0xFF271, len(word)) + word)
        assert struct.unpack("<i", stranger.recv(4)) == (0xFF271 + 2,)
    connect(device.tracker, device.key).close()


def test_it_registers_again_after_the_tracker_was_lost(server_folder: Path) -> None:
    with DeviceProcess(server_folder, "loyal") as device:
        device.stop_tracker()
        until(lambda: "will register again" in device.log, "the loss is noticed")
        device.start_tracker()
        device.wait_until_registered()
        connect(device.tracker, device.key).close()


@pytest.mark.slow
def test_an_offer_that_nobody_uses_is_renewed(server_folder: Path) -> None:
    with DeviceProcess(server_folder, "patient") as device:
        with TrackerClient(device.tracker, timeout_s=60) as client:
            client.request(device.key)
        device.wait_until_registered()
        connect(device.tracker, device.key).close()


def test_sigterm_in_a_session_ends_everything_cleanly(server_folder: Path, load_c: LoadC) -> None:
    with DeviceProcess(server_folder, "mortal") as device:
        session = connect(device.tracker, device.key)
        load_c(session, NOTHING)()
        device.server.send_signal(signal.SIGTERM)
        assert device.server.wait(timeout=60) == 0
        assert device.session_folders == []
        assert processes_in_groups([device.server.pid]) == []
        with (
            pytest.raises(MissingToolError, match="connection to the device was lost while"),
            session.calls("saying hello"),
        ):
            session.remote.upload(bytearray(b"x"), "x")
        session.close()


def test_a_killed_server_takes_its_session_along(server_folder: Path, load_c: LoadC) -> None:
    with DeviceProcess(server_folder, "killed") as device:
        session = connect(device.tracker, device.key)
        load_c(session, NOTHING)()
        device.server.kill()
        device.server.wait(timeout=60)
        until(lambda: processes_in_groups([device.server.pid]) == [], "the session's process ends")
        session.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tracker", "h:1", "--key", "a:b"], "--key: only letters"),
        (["--tracker", "h:1", "--key", 'a"b'], "--key: only letters"),
        (["--tracker", "h", "--key", "a"], "expected HOST:PORT"),
        (["--tracker", "h:99999", "--key", "a"], "not a port"),
        (["--key", "a"], "--tracker HOST:PORT is missing"),
        (["--tracker", "h:1"], "--key KEY is missing"),
        (["--tracker", "h:1", "--key"], "a value is missing"),
        (["--tracker", "h:1", "--key", "a", "--session-limit", "-1"], "not a number of seconds"),
        (["--verbose"], "unknown option"),
    ],
)
def test_a_wrong_command_line_is_refused(
    server_folder: Path, options: list[str], message: str
) -> None:
    command = [str(server_folder / EXECUTABLE), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert message in done.stderr
    assert "usage:" in done.stderr
