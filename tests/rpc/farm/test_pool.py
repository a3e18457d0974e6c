"""Measuring, comparing and checking kernels on the devices of one key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.farm import (
    DevicePool,
    DeviceState,
    FailureKind,
    Limits,
    Measurement,
    TensorType,
    local_device,
)
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.rpc.farm.conftest import QUICK, in_background
from tests.rpc.farm.kernels import (
    LEAVES_ONE_OUT,
    SLOWLY,
    TAKES_100_MS,
    TRIPLES,
    check_of,
    kernel,
)
from tests.rpc.test_device_server import until

OpenPool = Callable[..., DevicePool]


def test_trials_are_measured_in_order(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = [kernel(tmp_path, "fast"), kernel(tmp_path, "slow", SLOWLY), kernel(tmp_path, "same")]
    reported: dict[int, Measurement] = {}
    with open_pool(device) as pool:
        found = pool.measure(trials, on_result=reported.__setitem__)
        assert [reported[i] for i in range(3)] == found
        assert [m.failure for m in found] == [None] * 3
        assert all(1 <= len(m.samples) <= QUICK.samples for m in found)
        assert found[1].seconds > 2 * max(found[0].seconds, found[2].seconds)
        (status,) = pool.status()
        assert (status.name, status.trials, status.failures) == (found[0].device, 3, 0)
        # The session goes on, and the libraries are no longer there.
        assert status.state is DeviceState.ready
        assert [list(folder.iterdir()) for folder in device.session_folders] == [[]]
        # Settings of one call.
        (once,) = pool.measure(trials[:1], settings=replace(QUICK, samples=1))
        assert len(once.samples) == 1
        assert pool.measure([]) == []
    device.wait_until_registered()
    assert device.session_folders == []


def test_two_kernels_are_compared(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    fast, slow = kernel(tmp_path, "fast"), kernel(tmp_path, "slow", SLOWLY)
    with open_pool(device) as pool:
        worse, better = pool.compare([(fast, slow), (slow, fast)])
    assert worse.low > 2
    assert better.high < 0.5
    assert worse.low <= worse.ratio <= worse.high
    assert worse.rounds >= 3
    assert worse.first_s < worse.second_s < math.inf
    assert worse.device


def test_results_are_compared_with_the_reference(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    right = kernel(tmp_path, "right")
    candidates = [
        right,
        kernel(tmp_path, "triples", TRIPLES),
        kernel(tmp_path, "leaves one out", LEAVES_ONE_OUT),
    ]
    with open_pool(device) as pool:
        good, wrong, unwritten = pool.check([check_of(other, right) for other in candidates])
        (tolerated,) = pool.check([replace(check_of(candidates[1], right), tolerance=0.6)])
    assert good is None
    assert tolerated is None
    assert wrong is not None
    assert wrong.kind is FailureKind.wrong_result
    assert wrong.message == (
        "the result of triples differs by 0.5 of the largest magnitude, 0.001 is allowed"
    )
    assert unwritten is not None
    assert "not all of it was written" in unwritten.message


def test_every_type_of_argument_can_be_made(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    plain = kernel(tmp_path, "writes nothing", "")
    floats = ["float16", "bfloat16", "float32"]
    others = ["int8", "uint8", "int32", "int64", "bool"]
    trials = [
        replace(plain, arguments=(TensorType(kind, (3, 5)), TensorType(kind, ())))
        for kind in floats + others
    ]
    # Beyond what is kept for later trials.
    large = [replace(plain, arguments=(TensorType("float32", (n, 1 << 20)),)) for n in (9, 10, 9)]
    with open_pool(device) as pool:
        assert [m.failure for m in pool.measure(trials + large)] == [None] * len(trials + large)
        checks = []
        for trial in trials:
            x = (np.zeros((3, 5), ml_dtypes.bfloat16).astype(trial.arguments[0].dtype),)
            checks.append(replace(check_of(trial, trial), candidate_inputs=x, reference_inputs=x))
        found = pool.check(checks)
    # What neither kernel writes stays NaN; where there is no NaN, it differs.
    assert [failure is None for failure in found] == [True] * len(floats) + [False] * len(others)


_SAME_WEIGHTS_ABORT = """
static float *last, *written;
float *x = *((float***)args)[1], *y = *((float***)args)[3];
if (x == last || (written && y != written)) raise(SIGABRT);
last = x; written = y;
"""


def test_weights_are_others_in_every_call_and_nothing_else_is(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    plain = kernel(tmp_path, "plain", _SAME_WEIGHTS_ABORT)
    with open_pool(device) as pool:
        (no_weights, cold) = pool.measure([plain, replace(plain, constants=(0,))])
        (warm,) = pool.measure([replace(plain, constants=(0,), cold_bytes=0)])
    assert cold.failure is None
    for aborted in (no_weights, warm):
        assert aborted.failure is not None
        assert "signal 6" in aborted.failure.message


@pytest.mark.slow
def test_two_devices_share_the_work_and_a_third_may_join(
    server_folder: Path, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = [kernel(tmp_path, f"{i}", TAKES_100_MS) for i in range(2)] * 20
    with DeviceProcess(server_folder, "many") as first:
        with (
            DeviceProcess(server_folder, "many", tracker=first.tracker),
            open_pool(first) as pool,
        ):
            found = pool.measure(trials)
            assert all(m.failure is None for m in found)
            assert len({m.device for m in found}) == 2
            with DeviceProcess(server_folder, "many", tracker=first.tracker):
                devices: set[str] = set()

                def third_has_worked() -> bool:
                    devices.update(m.device for m in pool.measure(trials))
                    return len(devices) == 3

                until(third_has_worked, "the third device has measured")
        # Two of them have ended: the last one does everything.
        with open_pool(first) as pool:
            assert len({m.device for m in pool.measure(trials[:4])}) == 1


def test_an_idle_device_is_given_back(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trial = kernel(tmp_path, "plain")
    with open_pool(device, idle_s=0.1) as pool:
        for _ in range(2):
            assert pool.measure([trial])[0].failure is None
            connect(device.tracker, device.key).close()
            device.wait_until_registered()


@pytest.mark.slow
def test_two_pools_take_turns_at_one_device(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = [kernel(tmp_path, "slow", TAKES_100_MS)] * 6
    with open_pool(device, hold_s=0.2, idle_s=60) as one, open_pool(device, idle_s=0.1) as two:
        one.measure(trials[:1])
        done: list[str] = []
        other = partial(two.measure, trials[:1], on_result=lambda *_: done.append("two"))
        with in_background(other) as measured:
            found = one.measure(trials, on_result=lambda *_: done.append("one"))
            found += measured()
    assert all(m.failure is None for m in found)
    # The second pool got the device while the first one had work left.
    assert "two" in done[:-1]


def test_a_key_without_a_device_is_told_at_once(device: DeviceProcess) -> None:
    with pytest.raises(MissingToolError, match=r"no device of key 'pixel8'.*: test-device\n"):
        DevicePool(device.tracker, "pixel8").__enter__()
    with pytest.raises(UserInputError, match="no tracker address"):
        DevicePool("nonsense", "pixel8")


def test_cpus_that_the_device_lacks_are_the_users_mistake(
    device: DeviceProcess, tmp_path: Path
) -> None:
    trial = kernel(tmp_path, "plain")
    with (
        DevicePool(device.tracker, device.key, cpus="4000") as pool,
        pytest.raises(UserInputError, match="pinning to CPUs 4000"),
    ):
        pool.measure([trial])
    with DevicePool(device.tracker, device.key, cpus="0", settings=QUICK) as pool:
        assert pool.measure([trial])[0].failure is None


def _hot_tree(folder: Path, degrees: float) -> Path:
    zone = folder / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True, exist_ok=True)
    (zone / "type").write_text("cpu-0-0\n")
    (zone / "temp").write_text(f"{degrees * 1000:.0f}\n")
    return folder


def test_the_temperature_is_told_and_waited_for(
    server_folder: Path, open_pool: OpenPool, events: list[str], tmp_path: Path
) -> None:
    trial = kernel(tmp_path, "plain")
    tree = _hot_tree(tmp_path / "tree", 71)
    options = ("--sysfs-root", str(tree))
    gate = replace(QUICK, max_temperature_c=50, cool_s=0.1)
    with (
        DeviceProcess(server_folder, "hot", options=options) as hot,
        open_pool(hot, quarantine_s=0.1, idle_s=0.1) as pool,
    ):
        (found,) = pool.measure([trial])
        assert found.temperature_c == 71
        assert pool.status()[0].temperature_c == 71
        until(lambda: pool.status()[0].state is DeviceState.ready, "the device is free")
        hot.wait_until_registered()  # a new session looks at the temperature at once
        with in_background(lambda: pool.measure([trial], settings=gate)) as measured:
            until(lambda: any("71.0 °C" in event for event in events), "it is told")
            _hot_tree(tmp_path / "tree", 40)
            (found,) = measured()
    assert found.failure is None
    assert found.temperature_c == 40


def test_this_machine_as_a_device(tmp_path: Path) -> None:
    trial = kernel(tmp_path, "plain")
    with (
        local_device(cpus="0") as device,
        DevicePool(device.tracker, device.key, settings=QUICK, limits=Limits()) as pool,
    ):
        assert pool.measure([trial])[0].failure is None
    with pytest.raises(MissingToolError, match="no tracker answers"):
        connect(device.tracker, device.key)
