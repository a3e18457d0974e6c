"""What the native server offers in a session: the device's files, affinity, timing, numbers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.session import DeviceSession, connect
from autoglm_tvm.targets.errors import MissingToolError
from tests.rpc.c_module import COUNTS, SLEEPS, build_c_module
from tests.rpc.small_bundle import LAYERS, small_inputs


@pytest.fixture(scope="module")
def fake_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phone's /sys and /proc: a hot sensor, one that cannot be read, and a big core."""
    root = tmp_path_factory.mktemp("sysfs")
    files = {
        "sys/class/thermal/thermal_zone0/type": "cpu-0-0\n",
        "sys/class/thermal/thermal_zone0/temp": "71000\n",
        "sys/class/thermal/thermal_zone0/trip_point_0_temp": "95000\n",
        "sys/class/thermal/thermal_zone0/secret": "no\n",
        "sys/class/power_supply/battery/status": 'Disch"arging\u00e9\x01\n',
        "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "1800000\n",
        "sys/devices/system/cpu/cpu1/cpufreq/cpuinfo_max_freq": "2800000\n",
        "proc/meminfo": "MemTotal: 8 kB\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "sys/class/thermal/thermal_zone1/temp").mkdir(parents=True)
    return root


@pytest.fixture(scope="module")
def fake_device(server_folder: Path, fake_tree: Path) -> Any:
    """A device server that reads the fake tree."""
    options = ("--sysfs-root", str(fake_tree))
    with DeviceProcess(server_folder, "fake", options=options) as device:
        yield device


def call(session: DeviceSession, name: str, *arguments: Any) -> Any:
    """Call a function of the device."""
    with session.calls(f"calling {name}"):
        return session.remote.get_function(f"autoglm.{name}")(*arguments)


def affinities(device: DeviceProcess) -> list[str]:
    """Return the CPUs of every thread of the session's process."""
    lists = []
    for process in processes_in_groups([device.server.pid]):
        if process != device.server.pid:
            for status in Path(f"/proc/{process}/task").glob("*/status"):
                (line,) = [x for x in status.read_text().splitlines() if "Cpus_allowed_list" in x]
                lists.append(line.split()[1])
    return lists


def test_groups_of_files_are_read(fake_device: DeviceProcess) -> None:
    with connect(fake_device.tracker, fake_device.key) as session:
        zone = "/sys/class/thermal/thermal_zone0"
        assert json.loads(call(session, "device.read", "thermal")) == {
            f"{zone}/type": "cpu-0-0\n",
            f"{zone}/temp": "71000\n",
            f"{zone}/trip_point_0_temp": "95000\n",
        }
        power = json.loads(call(session, "device.read", "power"))
        assert power == {"/sys/class/power_supply/battery/status": 'Disch"arging??\x01\n'}
        memory = json.loads(call(session, "device.read", "memory"))
        assert memory == {"/proc/meminfo": "MemTotal: 8 kB\n"}
        with pytest.raises(MissingToolError, match="no group of files '/etc': choose from cpu"):
            call(session, "device.read", "/etc")


def test_the_real_files_are_read(session: DeviceSession) -> None:
    assert "processor" in json.loads(call(session, "device.read", "cpu"))["/proc/cpuinfo"]
    assert "VmRSS" in json.loads(call(session, "device.read", "memory"))["/proc/self/status"]


def test_peak_memory_is_the_sessions(session: DeviceSession) -> None:
    import tvm

    before = call(session, "device.peak_memory")
    size = 64 << 20
    tensor = tvm.runtime.empty((size,), "int8", session.remote.cpu(0))
    call(session, "measure.random", tensor, 0)
    assert call(session, "device.peak_memory") >= before + size
    del tensor
    if call(session, "device.reset_peak_memory"):
        assert call(session, "device.peak_memory") < before + size


def test_pinning_holds_for_the_pools_threads(device: DeviceProcess) -> None:
    with connect(device.tracker, device.key) as session:
        everywhere = call(session, "device.pin", "")
        if everywhere != "0-1":
            pytest.skip(f"a machine with CPUs {everywhere}")
        configure = session.remote.get_function("runtime.config_threadpool")
        configure(1, 2)
        assert sorted(affinities(device)) == ["0", "1"]
        assert call(session, "device.pin", "1") == "1"
        assert affinities(device) == ["1"] * 2
        configure(1, 2)
        assert affinities(device) == ["1"] * 2
        assert session.remote.get_function("runtime.NumThreads")() == 1
        assert call(session, "device.pin", "0,1") == "0-1"
        assert session.remote.get_function("runtime.NumThreads")() == 2
        assert sorted(affinities(device)) == ["0", "1"]


def test_tvms_own_pool_still_forgets_where_it_was_pinned() -> None:
    """When this fails, `affinity.cc` has less to do."""
    code = (
        "import os, tvm; os.sched_setaffinity(0, [1]);"
        "tvm.get_global_func('runtime.config_threadpool')(1, 1);"
        "print(os.sched_getaffinity(0))"
    )
    if os.sched_getaffinity(0) != {0, 1}:
        pytest.skip("needs CPUs 0 and 1")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() != "{1}"


def test_the_fastest_cpus_are_taken_first(fake_device: DeviceProcess) -> None:
    with connect(fake_device.tracker, fake_device.key) as session:
        if call(session, "device.pin", "") != "0-1":
            pytest.skip("needs CPUs 0 and 1")
        configure = session.remote.get_function("runtime.config_threadpool")
        for mode, threads, expected in [(1, 1, "1"), (-1, 1, "0"), (1, 0, "1"), (1, 2, "01")]:
            configure(mode, threads)
            assert set(affinities(fake_device)) == set(expected)


def test_the_servers_cpus_are_the_sessions_default(server_folder: Path) -> None:
    with (
        DeviceProcess(server_folder, "pinned", options=("--cpus", "0")) as device,
        connect(device.tracker, device.key) as session,
    ):
        assert call(session, "device.pin", "") == "0"
        session.remote.get_function("runtime.config_threadpool")(1, 4)
        assert set(affinities(device)) == {"0"}


BAD_LISTS = ["x", "1-", "-1", "2-1", "0,,1", "0,", "0 1", "99999", "1023-1024"]


@pytest.mark.parametrize("cpus", BAD_LISTS)
def test_a_malformed_list_is_refused(
    session: DeviceSession, server_folder: Path, cpus: str
) -> None:
    with pytest.raises(MissingToolError, match="not a list of CPUs such as"):
        call(session, "device.pin", cpus)
    command = [str(server_folder / EXECUTABLE), "--tracker", "h:1", "--key", "k", "--cpus", cpus]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--cpus: not a list of CPUs" in done.stderr


def test_a_cpu_that_is_not_there_is_refused(session: DeviceSession, server_folder: Path) -> None:
    in_force = call(session, "device.pin", "")
    with pytest.raises(MissingToolError, match="this device has no CPU 1023 online"):
        call(session, "device.pin", "0,1023")
    assert call(session, "device.pin", "") == in_force
    command = [str(server_folder / EXECUTABLE), "--tracker", "h:1", "--key", "k", "--cpus", "1023"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--cpus: this device has no CPU 1023 online: it has 0" in done.stderr


def numbers(data: bytes) -> np.ndarray:
    """Return pairs (seconds, interrupted)."""
    return np.frombuffer(data, "<f8").reshape(-1, 2)


def load_kernel(session: DeviceSession, tmp_path: Path, body: str) -> Any:
    library = build_c_module(tmp_path, body)
    session.remote.upload(str(library), library.name)
    return session.remote.load_module(library.name)


def test_a_kernel_is_timed(session: DeviceSession, tmp_path: Path) -> None:
    import tvm

    module = load_kernel(session, tmp_path, SLEEPS)
    tensor = tvm.runtime.empty((1,), "float32", session.remote.cpu(0))
    pairs = numbers(call(session, "measure.kernel", module, "f", 1, 0, 5, 0, 60_000, tensor))
    assert pairs.shape == (5, 2)
    assert (pairs[:, 0] >= 0.002).all()
    assert set(pairs[:, 1]) <= {0.0, 1.0}
    # Time is up before the first sample: one is taken all the same.
    assert len(numbers(call(session, "measure.kernel", module, "f", 1, 0, 5, 0, 0, tensor))) == 1


def test_sets_of_arguments_take_turns(session: DeviceSession, tmp_path: Path) -> None:
    import tvm

    module = load_kernel(session, tmp_path, COUNTS)
    zeros = [tvm.runtime.tensor(np.zeros(1, "int32"), session.remote.cpu(0)) for _ in range(6)]
    call(session, "measure.kernel", module, "f", 2, 0, 7, 1000, 60_000, *zeros)
    counts = [int(tensor.numpy()[0]) for tensor in zeros]
    # The kernel counts in its first argument alone.
    assert counts[1::2] == [0, 0, 0]
    assert sum(counts) > 7 * 3  # several runs fill a sample's millisecond
    assert max(counts[::2]) - min(counts[::2]) <= 1


def test_wrong_requests_are_refused(session: DeviceSession, tmp_path: Path) -> None:
    import tvm

    module = load_kernel(session, tmp_path, COUNTS)
    tensor = tvm.runtime.empty((1,), "int32", session.remote.cpu(0))
    with pytest.raises(MissingToolError, match="has no function g"):
        call(session, "measure.kernel", module, "g", 1, 0, 1, 0, 1, tensor)
    with pytest.raises(MissingToolError, match="3 arguments are not sets of 2"):
        call(session, "measure.kernel", module, "f", 2, 0, 1, 0, 1, tensor, tensor, tensor)
    with pytest.raises(MissingToolError, match="no arguments for the kernel"):
        call(session, "measure.kernel", module, "f", 1, 0, 1, 0, 1)


def test_a_network_is_timed_and_so_is_each_kernel(
    session: DeviceSession, small_bundle: Path
) -> None:
    bundle = session.open_bundle(small_bundle)
    expected = bundle.run(small_inputs())
    vm, entry = bundle.vm, bundle.manifest.entry
    pairs = numbers(call(session, "measure.network", vm.module, entry, 1, 20, 60_000))
    assert pairs.shape == (20, 2)
    assert (pairs[:, 0] > 0).all()

    vm.module["set_instrument"]("autoglm.timer.start")
    actual = bundle.run(small_inputs())
    vm.module["set_instrument"]("autoglm.timer.stop")
    calls = json.loads(call(session, "timer.report"))
    names = {kernel.function for kernel in bundle.manifest.kernels}
    timed = [nanoseconds for name, nanoseconds in calls if name in names]
    assert len(timed) == LAYERS
    assert min(timed) > 0
    np.testing.assert_array_equal(actual["y"], expected["y"])
    bundle.run(small_inputs())
    assert len(json.loads(call(session, "timer.report"))) == len(calls)
    call(session, "timer.clear")
    assert json.loads(call(session, "timer.report")) == []


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [
        ("float16", -1, 1),
        ("float32", -1, 1),
        ("float64", -1, 1),
        ("bfloat16", -1, 1),
        ("int8", -8, 7),
        ("uint8", 0, 15),
        ("int16", -8, 7),
        ("int32", 0, 1),
        ("int64", 0, 1),
        ("bool", 0, 1),
    ],
)
def test_random_numbers(session: DeviceSession, dtype: str, least: int, most: int) -> None:
    import tvm

    def fill(seed: int) -> np.ndarray:
        tensor = tvm.runtime.empty((40, 500), dtype, session.remote.cpu(0))
        call(session, "measure.random", tensor, seed)
        return tensor.numpy().astype("float64")

    first = fill(1)
    assert first.min() == least
    assert first.max() == most
    assert abs(first.mean() - (least + most) / 2) < 0.05 * (most - least)
    np.testing.assert_array_equal(fill(1), first)
    assert (fill(2) != first).any()
    if dtype == "float16":
        np.testing.assert_array_equal(first * 1024, np.round(first * 1024))
