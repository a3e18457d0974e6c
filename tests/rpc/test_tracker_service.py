"""The tracker in the background."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoglm_tvm.rpc import tracker_service
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.tracker_service import (
    BackgroundTracker,
    background_tracker,
    default_tracker,
    is_loopback,
    start_background,
    stop_background,
    tracker_status,
)
from autoglm_tvm.targets.errors import MissingToolError, UserInputError


@contextmanager
def running() -> Iterator[BackgroundTracker]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    started = start_background(port=port)
    try:
        yield started
    finally:
        if started.runs:
            os.kill(started.pid, signal.SIGKILL)


def test_start_status_stop(settings: Path) -> None:
    with running() as started:
        assert started.runs
        assert default_tracker() == started.address
        status = tracker_status()
        assert (status.address, status.pid, status.devices) == (started.address, started.pid, {})
        with pytest.raises(UserInputError, match=f"runs already at {started.address}"):
            start_background()
        assert stop_background() == started
    assert background_tracker() is None
    assert processes_in_groups([started.pid]) == []
    assert default_tracker() == "127.0.0.1:9190"
    with pytest.raises(UserInputError, match="no tracker runs in the background"):
        stop_background()


def test_it_outlives_the_process_that_started_it(settings: Path) -> None:
    code = (
        "from autoglm_tvm.rpc.tracker_service import start_background;"
        "import random; print(start_background(port=random.randrange(30000, 40000)).pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    found = background_tracker()
    assert found is not None
    try:
        assert found.pid == int(done.stdout)
        assert tracker_status().devices == {}
    finally:
        stop_background()


def test_a_process_that_only_has_its_number_is_left_alone(settings: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as innocent:
        settings.mkdir()
        state = {"pid": innocent.pid, "start_time": 1, "address": "127.0.0.1:1", "log": ""}
        (settings / "tracker.json").write_text(json.dumps(state))
        assert background_tracker() is None
        with pytest.raises(UserInputError, match="no tracker runs"):
            stop_background()
        assert innocent.poll() is None
        innocent.kill()


def test_a_later_tracker_with_its_number_is_left_alone(
    settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running() as started:
        monkeypatch.setattr(tracker_service, "_start_time", lambda pid: started.start_time + 1)
        assert background_tracker() is None
        monkeypatch.undo()


def test_a_port_that_is_taken(settings: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as other,
        pytest.raises(MissingToolError, match="cannot listen on"),
    ):
        start_background(port=other.getsockname()[1])
    assert background_tracker() is None


def test_what_is_loopback() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.3.2.1", "localhost", "::1", "[::1]")))
    assert not any(map(is_loopback, ("0.0.0.0", "192.168.1.1", "", "127.example.org", "::")))
