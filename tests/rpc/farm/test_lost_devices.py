"""Devices, servers, trackers and workers that go away: no trial is lost, no wait is for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.farm import DevicePool, DeviceState, FailureKind, Trial
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.targets.errors import MissingToolError
from tests.rpc.c_module import HANGS
from tests.rpc.farm.conftest import DEADLINE_S, in_background
from tests.rpc.farm.kernels import (
    ARM64_CC,
    KILLS_THE_SERVER,
    SEGFAULTS,
    kernel,
    tells,
)
from tests.rpc.test_device_server import until

OpenPool = Callable[..., DevicePool]


def _trials(folder: Path, count: int, compiler: str = "gcc") -> list[Trial]:
    """Return trials of 0.1 s a run, which tell when they run (`_until_one_runs`)."""
    return [kernel(folder, f"{i}", tells(folder / "runs"), compiler) for i in range(count)]


def _until_one_runs(folder: Path) -> None:
    until((folder / "runs").is_symlink, "a trial runs")


def _kill(device: DeviceProcess) -> None:
    device.server.kill()
    device.server.wait(60)


def _workers(parent: int | None = None) -> list[int]:
    """Return the ids of a process's workers; without one, of this process's."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"\nPPid:\t{parent or os.getpid()}\n" in (path / "status").read_text()
            if ours and b"autoglm_tvm.rpc.farm.worker" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue  # it ended meanwhile
    return found


def test_a_device_that_dies_in_a_trial_and_comes_back(
    own_device: DeviceProcess, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 4)
    with open_pool(own_device) as pool:
        with in_background(lambda: pool.measure(trials)) as measured:
            _until_one_runs(tmp_path)
            _kill(own_device)
            until(lambda: pool.waiting() != "", "the pool waits")
            assert pool.status()[0].state is DeviceState.lost
            assert "waiting for device farm-device, since" in pool.waiting()
            assert "none is connected to the tracker" in pool.waiting()
            own_device.start_server()
            found = measured()
        assert [m.failure for m in found] == [None] * len(trials)
        assert pool.waiting() == ""
        assert [status.state for status in pool.status()] == [DeviceState.ready]
    assert "is lost: the connection to the device was lost while running 0" in events[0]
    assert events[1].startswith("waiting for device farm-device, since")
    assert "is there after" in events[2]


@pytest.mark.slow
def test_an_emulated_phone_that_dies_and_comes_back(open_pool: OpenPool, tmp_path: Path) -> None:
    trials = _trials(tmp_path, 4, ARM64_CC)
    with (
        EmulatedPhone() as phone,
        open_pool(phone) as pool,
        in_background(lambda: pool.measure(trials)) as measured,
    ):
        _until_one_runs(tmp_path)
        _kill(phone)
        phone.start_server()
        found = measured()
    assert [m.failure for m in found] == [None] * len(trials)


@pytest.mark.slow
def test_another_device_takes_over(
    own_device: DeviceProcess, server_folder: Path, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 12)
    with (
        DeviceProcess(server_folder, own_device.key, tracker=own_device.tracker) as other,
        open_pool(own_device) as pool,
    ):
        with in_background(lambda: pool.measure(trials)) as measured:
            _until_one_runs(tmp_path)
            _kill(other)
            found = measured()
        assert [m.failure for m in found] == [None] * len(trials)


@pytest.mark.slow
def test_a_device_that_stays_away_is_given_up(
    own_device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 3)
    with open_pool(own_device, lost_timeout_s=1) as pool:
        indices: list[int] = []
        measure = partial(pool.measure, trials, on_result=lambda index, _: indices.append(index))
        with in_background(measure) as measured:
            until(lambda: bool(indices), "one trial is measured")
            _kill(own_device)
            with pytest.raises(MissingToolError, match=r"no device of key 'farm-device' for \d+ s"):
                measured()
        assert indices[0] == 0
        # The pool is still of use.
        own_device.start_server()
        own_device.wait_until_registered()
        assert pool.measure(trials[:1])[0].failure is None


def test_a_trial_that_kills_its_device_again_and_again(
    own_device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = [kernel(tmp_path, "killer", KILLS_THE_SERVER), kernel(tmp_path, "good")]
    with (
        open_pool(own_device, attempts=2) as pool,
        in_background(lambda: pool.measure(trials)) as measured,
    ):
        for _ in range(2):
            own_device.server.wait(DEADLINE_S)
            until(lambda: pool.status()[0].state is DeviceState.lost, "the device is lost")
            own_device.start_server()
        failed, good = measured()
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.device_lost
    assert "the device was lost 2 times while this ran" in failed.failure.message
    assert good.failure is None


@pytest.mark.slow
def test_a_device_that_freezes_is_not_the_trials_fault(
    own_device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 3)
    with (
        open_pool(own_device, run_s=1, doubt_s=1) as pool,
        in_background(lambda: pool.measure(trials)) as measured,
    ):
        _until_one_runs(tmp_path)
        frozen = processes_in_groups([own_device.server.pid])
        try:
            for process in frozen:
                os.kill(process, signal.SIGSTOP)
            until(lambda: pool.status()[0].state is DeviceState.lost, "the device is lost", 60)
        finally:
            for process in frozen:
                os.kill(process, signal.SIGCONT)
        found = measured()
    assert [m.failure for m in found] == [None] * len(trials)


@pytest.mark.slow
def test_the_tracker_is_killed_and_started_again(
    own_device: DeviceProcess, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 6)
    # The device is given back after every trial, and has to be got anew.
    with (
        open_pool(own_device, hold_s=0) as pool,
        in_background(lambda: pool.measure(trials)) as measured,
    ):
        _until_one_runs(tmp_path)
        own_device.stop_tracker()
        until(lambda: "no tracker answers" in pool.waiting(), "the pool waits")
        own_device.start_tracker()
        found = measured()
    assert [m.failure for m in found] == [None] * len(trials)
    assert "no tracker answers" in events[0]


def test_a_running_session_does_not_need_the_tracker(
    own_device: DeviceProcess, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    with open_pool(own_device, idle_s=120) as pool:
        pool.measure([kernel(tmp_path, "first")])
        own_device.stop_tracker()
        assert pool.measure([kernel(tmp_path, "second")])[0].failure is None
    assert events == []


def test_a_worker_process_that_is_killed(
    own_device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = _trials(tmp_path, 3)
    with open_pool(own_device) as pool:
        with in_background(lambda: pool.measure(trials)) as measured:
            _until_one_runs(tmp_path)
            (worker,) = _workers()
            os.kill(worker, signal.SIGKILL)
            found = measured()
        assert [m.failure for m in found] == [None] * len(trials)
        assert len(_workers()) == 1
    assert _workers() == []


def test_quarantine_and_return(
    own_device: DeviceProcess, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    bad = [kernel(tmp_path, f"bad {i}", SEGFAULTS) for i in range(3)]
    good = [kernel(tmp_path, f"good {i}") for i in range(2)]
    with open_pool(own_device, failures=3, quarantine_s=0.5) as pool:
        # The same trial again is no further evidence.
        for _ in range(3):
            pool.measure(bad[:1])
        assert pool.status()[0].failures_in_a_row == 1
        assert events == []
        found = pool.measure([*bad[1:], *good])
        assert [m.failure is None for m in found] == [False, False, True, True]
        (status,) = pool.status()
        assert (status.state, status.failures_in_a_row) == (DeviceState.ready, 0)
    told = "is quarantined for 0 s: 3 trials in a row failed there, the last one: "
    assert told in events[0]
    assert "Segmentation fault (signal 11)" in events[0]
    assert "ran the probe well, and is used again" in "\n".join(events)


def test_a_quarantined_device_must_pass_the_probe(
    own_device: DeviceProcess, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    """The kernel that was good crashes as long as a file is there."""
    file = tmp_path / "broken"
    body = f'if (access("{file}", F_OK) == 0) *(volatile int*)8 = 1;'
    trials = [kernel(tmp_path, f"{i}", body) for i in range(2)]
    with open_pool(own_device, failures=1, quarantine_s=0.2) as pool:
        assert pool.measure(trials[:1])[0].failure is None
        file.touch()
        assert pool.measure(trials[:1])[0].failure is not None
        with in_background(lambda: pool.measure(trials)) as measured:
            until(lambda: any("the probe failed" in event for event in events), "a probe failed")
            assert pool.status()[0].state is DeviceState.quarantined
            file.unlink()
            assert [m.failure for m in measured()] == [None, None]


def test_ctrl_c_ends_it_cleanly(
    own_device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trial = kernel(tmp_path, "hangs", tells(tmp_path / "runs") + HANGS)

    def press_ctrl_c() -> None:
        _until_one_runs(tmp_path)
        os.kill(os.getpid(), signal.SIGINT)

    with in_background(press_ctrl_c), pytest.raises(KeyboardInterrupt), open_pool(own_device) as p:
        p.measure([trial])
    assert _workers() == []
    own_device.wait_until_registered()  # the kernel has been killed there


_TUNER = """
import sys
from pathlib import Path
from autoglm_tvm.rpc.farm import DevicePool, TensorType, Trial
vector = TensorType("float32", (256,))
with DevicePool(*sys.argv[1:3]) as pool:
    pool.measure([Trial("hangs", Path(sys.argv[3]), "f", (vector, vector), 1)])
"""


def test_a_killed_tuner_leaves_nothing_behind(own_device: DeviceProcess, tmp_path: Path) -> None:
    library = kernel(tmp_path, "hangs", tells(tmp_path / "runs") + HANGS).library
    command = [sys.executable, "-c", _TUNER, own_device.tracker, own_device.key, str(library)]
    with subprocess.Popen(command) as tuner:
        _until_one_runs(tmp_path)
        (worker,) = _workers(tuner.pid)
        tuner.kill()
    until(lambda: not Path(f"/proc/{worker}").exists(), "the worker has ended")
    own_device.wait_until_registered()
