"""What the native server lives through: lost peers, full disks, logs that grow."""

from __future__ import annotations

import re
import shutil
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
from tests.rpc.c_module import CHATTERS, NOTHING

LoadC = Callable[[DeviceSession, str], Callable[[], None]]
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \[device-server \d+\] \S.*")


def until(true: Callable[[], bool], what: str, timeout_s: float = 120) -> None:
    """Wait until ``true()``."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not in {timeout_s} s: {what}"
        time.sleep(0.02)


def test_a_server_that_was_killed_is_started_again(server_folder: Path, load_c: LoadC) -> None:
    with DeviceProcess(server_folder, "phoenix") as device:
        session = connect(device.tracker, device.key)
        device.server.kill()
        device.server.wait(timeout=60)
        with pytest.raises(MissingToolError, match="connection to the device was lost"):
            load_in(session, load_c)
        session.close()
        device.start_server()
        device.wait_until_registered()
        with connect(device.tracker, device.key) as session:
            load_in(session, load_c)
        with TrackerClient(device.tracker, timeout_s=60) as client:
            assert client.devices()[device.key].total == 1


def load_in(session: DeviceSession, load_c: LoadC) -> None:
    with session.calls("loading f"):
        load_c(session, NOTHING)()


def test_the_tracker_goes_while_a_session_runs(server_folder: Path, load_c: LoadC) -> None:
    with DeviceProcess(server_folder, "orphan") as device:
        with connect(device.tracker, device.key) as session:
            device.stop_tracker()
            load_in(session, load_c)
            device.start_tracker()
            session.remote.upload(bytearray(b"x"), "still-there")
        device.wait_until_registered()
        connect(device.tracker, device.key).close()


def test_a_disk_that_is_full(server_folder: Path) -> None:
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit (util-linux) is missing")
    runner = ["prlimit", "--fsize=100000"]
    with (
        DeviceProcess(server_folder, "full", runner) as device,
        connect(device.tracker, device.key) as session,
    ):
        session.remote.upload(bytearray(1000), "small")
        message = r"cannot write 200000 bytes to '\S+/large': File too large"
        with pytest.raises(MissingToolError, match=message), session.calls("uploading"):
            session.remote.upload(bytearray(200_000), "large")
        (folder,) = device.session_folders
        assert [path.name for path in folder.iterdir()] == ["small"]
        assert session.remote.download("small") == bytes(1000)


def test_cleaning_up_keeps_the_sessions_folder(session: DeviceSession) -> None:
    session.remote.remove("")  # what MetaSchedule's runner does after each trial
    session.remote.upload(bytearray(b"x"), "x")
    session.remote.remove("x")
    session.remote.remove("x")
    with pytest.raises(Exception, match="x"):
        session.remote.download("x")


def test_a_link_is_not_written_through(
    device: DeviceProcess, session: DeviceSession, tmp_path: Path
) -> None:
    (folder,) = device.session_folders
    (folder / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(MissingToolError, match="cannot write"), session.calls("uploading"):
        session.remote.upload(bytearray(b"x"), "link")
    assert not (tmp_path / "outside").exists()


def test_memory_that_runs_out_ends_the_session_first(
    device: DeviceProcess, session: DeviceSession
) -> None:
    session.remote.upload(bytearray(b"x"), "x")
    server = device.server.pid
    (child,) = (pid for pid in processes_in_groups([server]) if pid != server)
    assert Path(f"/proc/{child}/oom_score_adj").read_text() == "1000\n"
    assert Path(f"/proc/{server}/oom_score_adj").read_text() != "1000\n"


def test_lines_of_the_log_have_times_and_clients(device: DeviceProcess) -> None:
    connect(device.tracker, device.key).close()
    device.wait_until_registered()
    lines = [line for line in device.log.splitlines() if "[device-server" in line]
    assert all(LINE.fullmatch(line) for line in lines), device.log
    assert re.search(r"session for 127\.0\.0\.1:\d+\n", device.log)


def test_a_log_in_a_file_stays_small(
    device: DeviceProcess, server_folder: Path, load_c: LoadC, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    command = [str(server_folder / EXECUTABLE), "--tracker", device.tracker, "--key", "loud"]
    command += ["--log", str(log), "--work-dir", str(tmp_path), "--exit-with-parent"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        until(lambda: log.exists() and "registered as loud" in log.read_text(), "it registers")
        with connect(device.tracker, "loud") as session:
            function = load_c(session, CHATTERS)
            for _ in range(3):
                function()  # writes a megabyte
                until(lambda: log.stat().st_size < 1 << 20, "the log is made smaller")
        assert (tmp_path / "log.1").stat().st_size >= 1 << 20
        assert sorted(path.name for path in tmp_path.glob("log*")) == ["log", "log.1"]
    finally:
        server.terminate()
        _, said = server.communicate(timeout=60)
    assert said == b""


def test_a_log_that_cannot_be_written(server_folder: Path, tmp_path: Path) -> None:
    command = [str(server_folder / EXECUTABLE), "--tracker", "h:1", "--key", "k"]
    command += ["--log", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert f"cannot write {tmp_path}: Is a directory" in done.stderr


def test_a_client_whose_machine_is_lost_is_noticed(
    device: DeviceProcess, session: DeviceSession
) -> None:
    """The kernel asks for a sign of life: timer 2 in /proc/net/tcp is the keep-alive one."""
    port = int(device.log.split("listening on 127.0.0.1:")[1].split()[0])

    def timers() -> list[str]:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return [row[5][:2] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]

    # Timer 1 waits for the client to say that it has received the last answer.
    until(lambda: timers() == ["02"], "the keep-alive timer runs")
    session.remote.upload(bytearray(b"x"), "x")
