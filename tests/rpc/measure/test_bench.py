"""`bench` for real: in this process, and on a device server with a tree of a phone's files."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.measure import BenchOptions, BenchResult, bench
from autoglm_tvm.rpc.measure.bench import _pin
from autoglm_tvm.rpc.measure.device_files import read_device
from autoglm_tvm.rpc.session import DeviceSession, connect
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError, UserInputError
from tests.rpc.measure.fakes import (
    Clock,
    FakeSubject,
    battery_files,
    cpu_files,
    thermal_files,
    write_tree,
)
from tests.rpc.small_bundle import LAYERS, small_inputs

QUICK = BenchOptions(samples=20, warm_up_s=0, threads=1, cpus="0")
# Keys and kinds of `bench --json`, as docs/measurement.md tells them.
SCHEMA: dict[str, type | tuple[type, ...]] = {
    "format": str,
    "bundle": str,
    "target": str,
    "model_sha256": str,
    "where": str,
    "processor": str,
    "started": str,
    "inputs": str,
    "cores": dict,
    "gate": (dict, type(None)),
    "warm_up": dict,
    "latency": dict,
    "samples_ms": list,
    "interrupted_samples": list,
    "readings": list,
    "zones_before": list,
    "zones_after": list,
    "memory": dict,
    "energy": dict,
    "sustained": (dict, type(None)),
    "profile": (dict, type(None)),
    "notes": list,
}


def test_every_field_is_in_the_documentation() -> None:
    text = (Path(__file__).parents[3] / "docs" / "measurement.md").read_text("utf-8")
    for key in SCHEMA:
        assert f"`{key}`" in text


def check_json(result: BenchResult) -> dict[str, Any]:
    """Return the result as read back from JSON, with every key and no number that JSON lacks."""
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(found) == list(SCHEMA)
    for key, kind in SCHEMA.items():
        assert isinstance(found[key], kind), key
    assert len(found["samples_ms"]) == found["latency"]["count"] + (
        found["latency"]["interrupted"] if found["latency"]["interrupted_excluded"] else 0
    )
    return found


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a phone with two cores, the second one big, and a warm chip."""
    return write_tree(
        tmp_path_factory.mktemp("tree"),
        cpu_files([300, 1024], [1800, 2800], "walt"),
        thermal_files(("cpu-0-0", 41000), ("cpu-1-0", 43500), ("battery", 30000)),
        battery_files(-900_000, 4_000_000),
        {"/proc/cpuinfo": "processor\t: 0\nHardware\t: Fake SoC\n"},
    )


@pytest.fixture(scope="module")
def phone(server_folder: Path, tree: Path) -> Iterator[DeviceProcess]:
    """A device server for this machine that believes to be that phone."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("the phone's second core is this machine's")
    options = ("--sysfs-root", str(tree))
    with DeviceProcess(server_folder, "fake-phone", options=options) as process:
        yield process


@pytest.fixture
def phone_session(phone: DeviceProcess) -> Iterator[DeviceSession]:
    with connect(phone.tracker, phone.key) as opened:
        yield opened


def test_this_machine(small_bundle: Path) -> None:
    affinity, bound = os.sched_getaffinity(0), os.environ.get("TVM_BIND_THREADS")
    told: list[str] = []
    options = BenchOptions(
        samples=30, warm_up_s=5, threads=1, cpus="all", profile=True, sustained_min=1e-9
    )
    result = bench(small_bundle, options=options, inputs=small_inputs(), progress=told.append)
    found = check_json(result)
    assert (found["where"], found["inputs"]) == ("this machine", "given")
    assert found["cores"]["threads"] == 1
    assert found["latency"]["p50_ms"] > 0
    assert found["warm_up"]["runs"] > 0
    assert result.memory.peak is not None
    assert result.memory.peak > 1 << 20
    assert result.sustained is not None
    assert len(result.sustained.points) == 3
    assert result.profile is not None
    assert sum(kernel.calls for kernel in result.profile.kernels) == LAYERS
    assert sum(kernel.share for kernel in result.profile.kernels) == pytest.approx(1)
    assert result.profile.kernel_seconds <= result.profile.run_seconds
    assert told[0] == "loading"
    assert "timing each kernel" in told
    # What the measurement has set is as it was.
    assert os.sched_getaffinity(0) == affinity
    assert os.environ.get("TVM_BIND_THREADS") == bound


def _affinities() -> dict[int, frozenset[int]]:
    return {
        int(path.name): frozenset(os.sched_getaffinity(int(path.name)))
        for path in Path("/proc/self/task").iterdir()
    }


def test_each_thread_has_a_core_of_its_own(convolutions_bundle: Path) -> None:
    """Two that share one wait for each other, and two threads are as fast as one."""
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        pytest.skip("one core")
    before = _affinities()
    seen: list[dict[int, frozenset[int]]] = []
    options = BenchOptions(samples=5, warm_up_s=0, threads=2, cpus="all")
    result = bench(
        convolutions_bundle, options=options, progress=lambda _: seen.append(_affinities())
    )
    assert result.cores.threads == 2
    while_measuring = seen[-1]
    main = while_measuring[threading.get_native_id()]
    bound = [cpus for cpus in while_measuring.values() if len(cpus) == 1]
    assert len(main) == 1
    assert len(bound) == len(set(bound)) == 2
    for thread, cpus in _affinities().items():
        assert cpus == before.get(thread, frozenset(cores))


def test_settings_are_given_back_after_an_error(small_bundle: Path) -> None:
    affinity = os.sched_getaffinity(0)
    with pytest.raises((MissingToolError, CheckFailedError)):
        # Whether or not this machine has zones: none is that cold.
        bench(
            small_bundle,
            options=BenchOptions(cpus="0", threads=1, max_temperature_c=1e-3, cool_timeout_min=0),
        )
    assert os.sched_getaffinity(0) == affinity


def test_a_device(phone_session: DeviceSession, small_bundle: Path) -> None:
    options = BenchOptions(samples=30, warm_up_s=2, profile=True, sustained_min=1e-9)
    result = bench(small_bundle, phone_session, options)
    found = check_json(result)
    assert found["processor"] == "Fake SoC"
    assert found["cores"]["pinned"] == "1"  # the big one
    assert found["cores"]["threads"] == 1
    assert [c["kind"] for c in found["cores"]["before"]] == ["little", "big"]
    assert found["cores"]["before"][1]["governor"] == "walt"
    assert [zone["type"] for zone in found["zones_before"]] == ["cpu-0-0", "cpu-1-0", "battery"]
    assert found["gate"]["limit_c"] == 50  # of a device that shows a zone
    assert found["gate"]["waited_s"] < 5
    assert {reading["celsius"] for reading in found["readings"]} == {43.5}
    assert {reading["mhz"] for reading in found["readings"]} == {1400}
    assert result.energy.watts == pytest.approx(3.6)
    assert result.energy.joules_per_run == pytest.approx(
        3.6 * (result.energy.seconds or 0) / result.energy.runs
    )
    assert 0 < (result.memory.added or 0) < 1 << 30
    assert result.profile is not None
    assert sum(kernel.calls for kernel in result.profile.kernels) == LAYERS
    assert result.notes[0] == "1 of 2 threads, as there are no more cores for them"
    # The same session can do something else.
    assert phone_session.open_bundle(small_bundle).run(small_inputs())


def test_a_device_that_stays_hot(phone_session: DeviceSession, small_bundle: Path) -> None:
    options = BenchOptions(samples=5, max_temperature_c=40, cool_timeout_min=0)
    with pytest.raises(CheckFailedError) as caught:
        bench(small_bundle, phone_session, options)
    assert "thermal zone cpu-1-0 (thermal_zone1) is at 43.5 °C" in caught.value.what
    assert "fake-phone" in caught.value.where


def test_a_device_that_cools_down(
    phone_session: DeviceSession, small_bundle: Path, tree: Path
) -> None:
    zone = tree / "sys/class/thermal/thermal_zone0/temp"
    zone.write_text("66000\n")

    def cool(text: str) -> None:
        if text.startswith("waiting for cpu-0-0"):
            zone.write_text("41000\n")

    options = BenchOptions(samples=5, warm_up_s=0, max_temperature_c=45)
    result = bench(small_bundle, phone_session, options, progress=cool)
    assert result.gate is not None
    assert (result.gate.before.celsius, result.gate.after.celsius) == (66, 43.5)
    assert "no warm-up was asked for: the first runs are slower" in result.notes


class Refusing(FakeSubject):
    """A system that lets the process run on the cores 0 to 3, and changes nothing about it."""

    def pin(self, cpus: str) -> str:
        if cpus:
            raise MissingToolError("the device refused pinning to cores: no", where=self.where)
        return "0-3"


def test_a_choice_that_the_system_refuses() -> None:
    """The default is a wish and becomes a note; a list is an order."""
    subject = Refusing(Clock(), lambda _: 1.0)
    files = cpu_files([300, 300, 1024, 1024, 1024], [1800, 1800, 2800, 2800, 2800])
    assert _pin(subject, files, "big") == ([0, 1, 2, 3], "the device refused pinning to cores: no")
    with pytest.raises(MissingToolError, match="refused pinning"):
        _pin(subject, files, "2-3")
    # Cores that are there, but not for this process.
    with pytest.raises(UserInputError, match="no core 4 to run on; there are 0-3"):
        _pin(subject, files, "3-4")


def test_a_device_that_goes_away(server_folder: Path, small_bundle: Path) -> None:
    with DeviceProcess(server_folder, "leaving") as process:

        def unplug(text: str) -> None:
            if text.startswith("under load"):
                process.server.kill()

        options = BenchOptions(samples=5, warm_up_s=0, sustained_min=5)
        with (
            connect(process.tracker, process.key) as session,
            pytest.raises(
                MissingToolError, match=r"connection to the device was lost while"
            ) as caught,
        ):
            bench(small_bundle, session, options, progress=unplug)
        assert "leaving" in caught.value.where


def test_a_server_that_cannot_measure(session: DeviceSession) -> None:
    class Other:
        where = "elsewhere"
        calls = session.calls

        class remote:  # noqa: N801
            @staticmethod
            def get_function(name: str) -> object:
                raise AttributeError(name)

    with pytest.raises(MissingToolError, match=r"no function autoglm\.device\.read"):
        read_device(Other(), "cpu")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (BenchOptions(threads=0), "--threads: 0 cannot"),
        (BenchOptions(samples=0), "--samples: 0 cannot"),
        (BenchOptions(warm_up_s=-1), "--warm-up: -1"),
        (BenchOptions(warm_up_s=float("nan")), "--warm-up: nan"),
        (BenchOptions(sustained_min=-1), "--sustained: -1"),
        (BenchOptions(max_temperature_c=-3), "--max-temperature: -3"),
        (BenchOptions(max_temperature_c=float("nan")), "--max-temperature: nan"),
        (BenchOptions(cool_timeout_min=-1), "--cool-timeout: -1"),
        (BenchOptions(cpus="fast"), "--cpus: 'fast'"),
        (BenchOptions(cpus="4-"), "--cpus: '4-'"),
        (BenchOptions(cpus="999"), "no core 999"),
        (BenchOptions(cpus="0", threads=2), "no cores for 2 threads"),
    ],
)
def test_options_that_cannot_be_meant(options: BenchOptions, says: str, small_bundle: Path) -> None:
    with pytest.raises(UserInputError) as caught:
        bench(small_bundle, options=options)
    assert says in str(caught.value)
    assert caught.value.hint


def test_shapes_beside_inputs_and_shapes_that_do_not_fit(small_bundle: Path) -> None:
    with pytest.raises(UserInputError, match="there are given ones"):
        bench(small_bundle, inputs=small_inputs(), shapes={"x": [16, 16]})
    with pytest.raises(UserInputError, match="no input takes the shape x=1,16"):
        bench(small_bundle, shapes={"x": [1, 16]})
    with pytest.raises(UserInputError, match="missing input"):
        bench(small_bundle, inputs={})


@pytest.mark.slow
def test_an_emulated_phone(phone_bundle: Path, tree: Path) -> None:
    with (
        EmulatedPhone(options=("--sysfs-root", str(tree))) as phone,
        connect(phone.tracker, phone.key) as session,
    ):
        options = BenchOptions(samples=10, warm_up_s=2, cpus="all", profile=True)
        result = bench(phone_bundle, session, options)
    found = check_json(result)
    assert found["latency"]["count"] >= 5
    assert found["processor"] == "Fake SoC"
    assert result.profile is not None
    assert result.profile.kernels
    assert all(kernel.seconds > 0 for kernel in result.profile.kernels)
