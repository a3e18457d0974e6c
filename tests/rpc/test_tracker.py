"""The tracker process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from autoglm_tvm.rpc.tracker import start_tracker
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError
from tests.devices.device_process import processes_in_groups


def test_it_starts_answers_and_stops() -> None:
    tracker = start_tracker()
    try:
        with TrackerClient(tracker.address, timeout_s=10) as client:
            assert client.devices() == {}
        # TVM's own command would be two processes here, the second of which survives.
        assert processes_in_groups([tracker.process.pid]) == [tracker.process.pid]
    finally:
        tracker.stop()
    assert processes_in_groups([tracker.process.pid]) == []


def test_a_port_that_is_taken() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(MissingToolError, match=r"did not start: .*cannot bind"),
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
    deadline = time.monotonic() + 20
    while processes_in_groups([tracker]) and time.monotonic() < deadline:
        time.sleep(0.02)
    left = processes_in_groups([tracker])
    for process in left:
        os.kill(process, signal.SIGKILL)
    assert left == []
