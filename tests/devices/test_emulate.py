"""`device emulate`: the emulated phone as a command, and several at one tracker."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from autoglm_tvm.rpc.device_build import build_device_server
from autoglm_tvm.rpc.devices.check import check_device
from autoglm_tvm.rpc.emulation import emulate, emulated_phone
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulate import emulate_until_interrupted, qemu_cpus
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.tracker import start_tracker
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.cli.command_line import MODULE, fails


@pytest.mark.slow
def test_it_runs_until_ctrl_c_and_leaves_nothing(settings: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", MODULE, "device", "emulate", "--key", "toy"]
    with (tmp_path / "errors").open("w") as errors:
        process = subprocess.Popen(
            [*command, "--cpu", "cortex-a53"], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        found = re.search(r"device 'toy' at the tracker (127\.0\.0\.1:\d+)", first)
        assert found, first + (tmp_path / "errors").read_text()
        checked = check_device("toy", tracker=found[1])
        assert checked.phones[0].proof.relative_error < 1e-5
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
    finally:
        process.kill()
        process.communicate()
    with pytest.raises(MissingToolError, match="no tracker answers"):
        TrackerClient(found[1], timeout_s=5)


@pytest.mark.slow
def test_devices_of_one_key_share_a_tracker() -> None:
    server_folder = build_device_server("host")
    tracker = start_tracker()
    try:
        with (
            DeviceProcess(server_folder, "twin", tracker=tracker.address) as one,
            DeviceProcess(server_folder, "twin", tracker=tracker.address) as two,
        ):
            assert one.tracker == two.tracker == tracker.address
            with TrackerClient(tracker.address, timeout_s=60) as client:
                assert (client.devices()["twin"].total, client.devices()["twin"].free) == (2, 2)
            assert len(one.groups) == len(two.groups) == 1
        assert processes_in_groups([*one.groups, *two.groups]) == []
        # It is not theirs to stop.
        with TrackerClient(tracker.address, timeout_s=60) as client:
            assert client.devices() == {}
    finally:
        tracker.stop()


def test_cpus_that_qemu_has() -> None:
    assert {"cortex-a53", "cortex-a76", "max"} <= set(qemu_cpus())
    with pytest.raises(UserInputError, match=r"emulates no CPU 'cortex-a75'.*'cortex-a76'"):
        emulate_until_interrupted("cortex-a75", "k", None, lambda address: None)


def test_the_debian_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError) as caught:
        emulate.emulate_until_interrupted("max", "k", None, lambda address: None)
    assert caught.value.hint == f"apt-get install {emulated_phone.DEBIAN_PACKAGES}"


def test_a_key_or_tracker_that_is_none() -> None:
    fails(2, "device", "emulate", "--key", "a:b", says="no key of a device")
    fails(2, "device", "emulate", "--tracker", "nowhere", says="no tracker address")
