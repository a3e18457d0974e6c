"""`autoglm-tvm tracker`."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.cli.command_line import MODULE, fails, run, succeeds


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_in_the_background(settings: Path) -> None:
    port = _free_port()
    started = succeeds("tracker", "start", "--background", "--port", port, "--json").json
    try:
        assert started["address"] == f"127.0.0.1:{port}"
        assert f"process {started['pid']}" in succeeds("tracker", "status").stdout
        fails(2, "tracker", "start", "--background", says="runs already")
    finally:
        stopped = succeeds("tracker", "stop", "--json").json
    assert stopped == started
    fails(2, "tracker", "stop", says="no tracker runs in the background")
    fails(3, "tracker", "status", "--tracker", f"127.0.0.1:{port}", says="no tracker answers")


def test_in_the_foreground_until_ctrl_c(settings: Path) -> None:
    port = _free_port()
    command = [sys.executable, "-m", MODULE, "tracker", "start", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == f"127.0.0.1:{port}\n"
            assert succeeds("tracker", "status", "--tracker", f"127.0.0.1:{port}", "--json").json
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == -signal.SIGINT
        finally:
            process.kill()


def test_an_open_address_is_warned_of(settings: Path) -> None:
    """An address that is nobody's (RFC 5737): the warning comes, and then it cannot listen."""
    outcome = run("tracker", "start", "--background", "--host", "192.0.2.1")
    assert outcome.code == 3
    assert "warning: whoever reaches 192.0.2.1:9190 can run any code" in outcome.stderr
    assert "cannot listen on 192.0.2.1" in outcome.stderr
    port = _free_port()
    with socket.create_server(("127.0.0.1", port)):
        taken = run("tracker", "start", "--background", "--port", port)
    assert taken.code == 3
    assert "warning" not in taken.stderr
