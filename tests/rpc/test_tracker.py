"""The tracker process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.tracker import start_tracker
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError


def test_it_starts_answers_and_stops() -> None:
    tracker = start_tracker()
    try:
        with TrackerClient(tracker.address, timeout_s=60) as client:
            assert client.devices() == {}
        # TVM's own command would be two processes here, the second of which survives.
        assert processes_in_groups([tracker.process.pid]) == [tracker.process.pid]
    finally:
        tracker.stop()
    assert processes_in_groups([tracker.process.pid]) == []


def test_a_port_that_is_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(MissingToolError, match=r"did not start: cannot listen on .*cannot bind"),
    ):
        start_tracker(port=other.getsockname()[1])


def test_it_dies_with_a_parent_that_is_killed() -> None:
    code = (
        "import time; from autoglm_tvm.rpc.tracker import start_tracker;"
        "print(start_tracker().process.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        tracker = int(parent.stdout.readline())
        parent.kill()
    deadline = time.monotonic() + 120
    while processes_in_groups([tracker]) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = processes_in_groups([tracker])
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []


def test_the_command_prints_its_address_and_ends_with_ctrl_c() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    command = [sys.executable, "-m", "autoglm_tvm.rpc.tracker", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"127.0.0.1:{port}\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == -signal.SIGINT
        finally:
            process.kill()
