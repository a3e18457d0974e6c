"""A phone from the cable to a kernel: the real adb, a simulated phone with an emulated CPU."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from autoglm_tvm.rpc.device_build import EXECUTABLE
from autoglm_tvm.rpc.devices import ports
from autoglm_tvm.rpc.devices.add import AddedDevice, add_device
from autoglm_tvm.rpc.devices.check import check_device
from autoglm_tvm.rpc.devices.listing import list_devices
from autoglm_tvm.rpc.devices.registry import load_devices
from autoglm_tvm.rpc.devices.remove import remove_device
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.rpc.tracker import TrackerProcess, start_tracker
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.device_presets import device_presets
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from autoglm_tvm.targets.target import resolve_target
from tests.cli.command_line import fails, succeeds
from tests.devices.adbd.adb_server import AdbServer, own_adb_server
from tests.devices.adbd.file_system import LITTLE, cpuinfo
from tests.devices.adbd.phone import SimulatedPhone

FOLDER = "/data/local/tmp/autoglm-tvm"
KEY = "test-phone-8"
# One adb server and one phone for the module: with several workers they stay on one of them.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("onboarding")]


@pytest.fixture(scope="module")
def tracker() -> Iterator[TrackerProcess]:
    started = start_tracker()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    with own_adb_server(tmp_path_factory.mktemp("adb")) as server:
        yield server


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory, adb: AdbServer) -> Iterator[SimulatedPhone]:
    with _plugged_in(adb, tmp_path_factory.mktemp("phone")) as simulated:
        yield simulated


@contextmanager
def _plugged_in(adb: AdbServer, folder: Path, cpu: str = "cortex-a76") -> Iterator[SimulatedPhone]:
    """Another phone, for one test."""
    with SimulatedPhone(folder, cpu=cpu) as simulated:
        adb.connect(simulated)
        try:
            yield simulated
        finally:
            adb.run("disconnect", simulated.serial)


@pytest.fixture(scope="module")
def settings_of_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("settings")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOGLM_TVM_CONFIG", str(folder))
        yield folder


@pytest.fixture(scope="module")
def added(phone: SimulatedPhone, tracker: TrackerProcess, settings_of_module: Path) -> AddedDevice:
    """The phone, added."""
    return add_device(tracker=tracker.address)


def test_adding_finds_out_what_it_is_and_proves_it(
    added: AddedDevice, phone: SimulatedPhone, tracker: TrackerProcess
) -> None:
    device, facts = added.device, added.device.facts
    assert (device.key, device.serial, device.libc) == (KEY, phone.serial, "glibc")
    assert (facts.name, facts.soc) == ("Maker Test Phone 8", "Maker Chip 3")
    assert facts.clusters == "4x cortex-a55 1.7 GHz, 4x cortex-a76 2.4 GHz"
    assert device.base_target == "android-arm64-v8.2"
    assert (added.target.name, added.target.cpu, added.target.threads) == (KEY, "cortex-a76", 4)
    assert added.proof.relative_error < 1e-5
    assert EXECUTABLE in added.pushed.files
    assert load_devices() == [device]
    assert device_presets() == {KEY: added.target}
    with TrackerClient(tracker.address, timeout_s=60) as client:
        assert client.devices()[KEY].total == 1
    assert json.loads(json.dumps(added.to_json()))["device"]["facts"]["model"] == "Test Phone 8"


def test_adding_again_copies_nothing(added: AddedDevice, tracker: TrackerProcess) -> None:
    again = succeeds("device", "add", "--tracker", tracker.address, "--json").json
    assert again["pushed"]["files"] == []
    assert again["device"] == json.loads(json.dumps(added.device.to_json()))
    assert f"{KEY} is ready" in succeeds("device", "add", "--tracker", tracker.address).stdout


def test_only_what_changed_is_copied(
    added: AddedDevice, phone: SimulatedPhone, tracker: TrackerProcess
) -> None:
    (phone.local(f"{FOLDER}/{KEY}/bin") / "libm.so.6").write_bytes(b"damaged")
    again = add_device(tracker=tracker.address)
    assert again.pushed.files == ("libm.so.6",)


def test_the_commands_line_by_line(added: AddedDevice, phone: SimulatedPhone) -> None:
    assert KEY in succeeds("device", "list").stdout
    listed = succeeds("device", "list", "--json").json
    assert [item["key"] for item in listed["devices"]] == [KEY]
    assert (listed["devices"][0]["adb"], listed["devices"][0]["at_tracker"]) == ("device", "free")
    assert listed["new_phones"] == {}
    address = added.device.tracker
    assert succeeds("tracker", "status", "--tracker", address, "--json").json == {
        "address": address,
        "pid": None,
        "devices": {KEY: {"total": 1, "free": 1}},
    }
    assert f"{KEY} at {address} is ready" in succeeds("device", "check", KEY).stdout
    assert f"Your device {KEY}" in succeeds("targets").stdout


def test_all_is_well(added: AddedDevice) -> None:
    (checked,) = check_device(KEY).phones
    assert checked.repaired == ()
    assert checked.proof.relative_error < 1e-5


def test_a_server_that_was_killed_is_started_again(
    added: AddedDevice, phone: SimulatedPhone, adb: AdbServer
) -> None:
    adb.run("shell", f"kill -9 $(cat {FOLDER}/{KEY}/server.pid)")
    (checked,) = check_device(KEY).phones
    assert checked.repaired == ("the device server, because it did not run",)


def test_a_phone_that_was_restarted_is_repaired(
    added: AddedDevice, phone: SimulatedPhone, adb: AdbServer
) -> None:
    phone.reboot()
    adb.connect(phone)
    assert list_devices().devices[0].at_tracker == "absent"
    (checked,) = check_device(KEY).phones
    text = " ".join(checked.repaired)
    assert "adb reverse" in text
    assert "adb forward" in text
    assert "device server" in text


def test_a_bundle_for_its_own_target_runs(
    added: AddedDevice, linear_model: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    succeeds("compile", linear_model, "--target", KEY, "-o", bundle, "--shape", "x=2,8")
    where = ("--tracker", added.device.tracker, "--key", KEY)
    assert "right" in succeeds("verify", bundle, "--reference", linear_model, *where).stdout


def test_a_session_leaves_nothing_on_the_phone(added: AddedDevice, phone: SimulatedPhone) -> None:
    work = phone.local(f"{FOLDER}/{KEY}/work")
    _wait_until_empty(work)
    with connect(added.device.tracker, KEY) as session:
        session.remote.upload(bytearray(b"x"), "file")
        assert len(list(work.iterdir())) == 1
    _wait_until_empty(work)


def test_what_a_killed_server_left_is_deleted(
    added: AddedDevice, phone: SimulatedPhone, adb: AdbServer
) -> None:
    adb.run("shell", f"kill -9 $(cat {FOLDER}/{KEY}/server.pid)")
    orphan = phone.local(f"{FOLDER}/{KEY}/work/autoglm-session-x/library.so")
    orphan.parent.mkdir()
    orphan.write_bytes(b"x")
    check_device(KEY)
    assert not orphan.exists()


def _wait_until_empty(folder: Path) -> None:
    """The server cleans up when it has noticed that its client left."""
    deadline = time.monotonic() + 60
    while left := list(folder.iterdir()):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_keys_that_are_taken(added: AddedDevice, tracker: TrackerProcess) -> None:
    with pytest.raises(UserInputError, match=f"this phone was added as '{KEY}'") as caught:
        add_device(tracker=tracker.address, key="other")
    assert f"device remove {KEY}" in caught.value.hint
    with pytest.raises(UserInputError, match="no key of a device"):
        add_device(tracker=tracker.address, key="a:b")


def test_a_phone_of_another_kind_does_not_get_its_key(
    added: AddedDevice, adb: AdbServer, tracker: TrackerProcess, tmp_path: Path
) -> None:
    with _plugged_in(adb, tmp_path / "phone", cpu="cortex-a53") as other:
        (other.root / "proc/cpuinfo").write_text(cpuinfo([LITTLE] * 8, "fp asimd crc32"))
        with pytest.raises(UserInputError, match=f"the key '{KEY}' belongs to Maker"):
            add_device(other.serial, tracker=tracker.address, key=KEY)
        assert list_devices().new_phones == {other.serial: "device"}


def test_phones_of_one_kind_share_a_key(
    added: AddedDevice, phone: SimulatedPhone, adb: AdbServer, tmp_path: Path
) -> None:
    with _plugged_in(adb, tmp_path / "phone") as twin:
        second = add_device(twin.serial, tracker=added.device.tracker).device
        assert second.key == KEY
        assert second.port != added.device.port
        with TrackerClient(second.tracker, timeout_s=60) as client:
            assert client.devices()[KEY].total == 2
        twin_log = twin.local(f"{FOLDER}/{KEY}/server.log")
        first_log = phone.local(f"{FOLDER}/{KEY}/server.log")
        before = [log.read_text().count("session for") for log in (first_log, twin_log)]
        checked = check_device(KEY)
        assert {item.serial for item in checked.phones} == {phone.serial, twin.serial}
        after = [log.read_text().count("session for") for log in (first_log, twin_log)]
        assert all(late > early for early, late in zip(before, after, strict=True))
        with pytest.raises(UserInputError, match=f"2 phones have the key '{KEY}'"):
            remove_device(KEY)
        remove_device(KEY, serial=twin.serial)
        assert load_devices() == [added.device]
        assert list(device_presets()) == [KEY]


def test_no_tracker(added: AddedDevice, phone: SimulatedPhone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        nobody = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(MissingToolError, match="no tracker answers") as caught:
        add_device(tracker=nobody)
    assert "autoglm-tvm tracker start --port" in caught.value.hint
    with pytest.raises(UserInputError, match="was added at the tracker"):
        check_device(KEY, tracker=nobody)


@pytest.mark.parametrize(
    ("tool", "prints", "says"),
    [
        ("uname", "armv7l", "its architecture is armv7l"),
        ("df", "1K-blocks Used Available\n/data 9 9 1024 1% /", "1 MiB of storage left"),
        ("getprop", "[ro.build.version.sdk]: [23]", "Android 7"),
    ],
)
def test_a_phone_that_cannot_be_used(
    adb: AdbServer,
    tracker: TrackerProcess,
    settings: Path,
    tmp_path: Path,
    tool: str,
    prints: str,
    says: str,
) -> None:
    with _plugged_in(adb, tmp_path / "phone") as simulated:
        script = tmp_path / "phone" / "tools" / tool
        script.write_text(f"#!/bin/sh\nprintf '%b\\n' '{prints}'\n")
        with pytest.raises(MissingToolError, match=says):
            add_device(simulated.serial, tracker=tracker.address)
        assert load_devices() == []
        assert simulated.processes() == []


def test_a_phone_without_sha256(
    adb: AdbServer, tracker: TrackerProcess, settings: Path, tmp_path: Path
) -> None:
    with _plugged_in(adb, tmp_path) as simulated:
        (tmp_path / "tools" / "sha256sum").write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / "tools" / "sha256sum").chmod(0o755)
        first = add_device(simulated.serial, tracker=tracker.address)
        assert len(first.pushed.files) > 5
        again = add_device(simulated.serial, tracker=tracker.address)
        assert again.pushed.files == ()
        remove_device(first.device.key)


@pytest.mark.parametrize("side", ["phone", "computer"])
def test_a_port_that_is_taken(
    side: str,
    adb: AdbServer,
    tracker: TrackerProcess,
    settings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with _plugged_in(adb, tmp_path) as simulated:
        first = ports.free_port(set())
        address = simulated.address if side == "phone" else "127.0.0.1"
        # Somebody took it between our look and our use of it.
        monkeypatch.setattr(ports, "_is_free", lambda port: True)
        monkeypatch.setattr(ports, "_FIRST", first)
        with socket.create_server((address, first)):
            added = add_device(simulated.serial, tracker=tracker.address, key="crowded")
        assert added.device.port > first
        remove_device("crowded")
        assert f"tcp:{first}" not in adb.run("forward", "--list")


def test_a_server_that_does_not_start(
    adb: AdbServer, tracker: TrackerProcess, settings: Path, tmp_path: Path
) -> None:
    """It registers nowhere, because the loader finds no library; nothing stays behind."""
    with _plugged_in(adb, tmp_path / "phone") as simulated:
        (tmp_path / "phone" / "tools" / "setsid").write_text("#!/bin/sh\necho no such tool; false")
        (tmp_path / "phone" / "tools" / "setsid").chmod(0o755)
        with pytest.raises(MissingToolError, match="does not start on the phone: no such tool"):
            add_device(simulated.serial, tracker=tracker.address)
        assert load_devices() == []
        assert simulated.processes() == []
        assert "tcp" not in adb.run("-s", simulated.serial, "reverse", "--list")


def test_an_unknown_device_is_told() -> None:
    fails(2, "device", "check", "nobody", says="no device 'nobody' was added")
    fails(2, "device", "remove", "nobody", says="no device 'nobody' was added")
    fails(2, "device", "check", "a:b", says="no key of a device")
    fails(2, "device", "add", "--serial", "a;b", says="no phone's serial")


def test_removing_leaves_nothing(
    added: AddedDevice, phone: SimulatedPhone, adb: AdbServer, tracker: TrackerProcess
) -> None:
    """The last test of the file: the phone is as it was before."""
    removed = remove_device(KEY)
    assert "stopped the device server" in removed.done
    assert load_devices() == []
    assert device_presets() == {}
    assert phone.processes() == []
    assert not phone.local(FOLDER).exists()
    assert phone.local("/data/local/tmp").is_dir()
    assert adb.run("forward", "--list").strip() == ""
    assert adb.run("reverse", "--list").strip() == ""
    with pytest.raises(UserInputError, match="unknown target"):
        resolve_target(KEY)
    with TrackerClient(tracker.address, timeout_s=60) as client:
        assert KEY not in client.devices()


def test_a_tracker_that_adb_cannot_lead_to() -> None:
    with pytest.raises(
        UserInputError, match=r"only at 127\.0\.0\.1 .* not at lab\.local"
    ) as caught:
        add_device(tracker="lab.local:9190")
    assert "ssh -N -L 9190:127.0.0.1:9190 lab.local" in caught.value.hint


def test_a_phone_that_is_gone_for_good(
    adb: AdbServer, tracker: TrackerProcess, settings: Path, tmp_path: Path
) -> None:
    with _plugged_in(adb, tmp_path) as simulated:
        add_device(simulated.serial, tracker=tracker.address, key="lost")
    with pytest.raises((MissingToolError, UserInputError), match="no phone"):
        check_device("lost")
    with pytest.raises(MissingToolError, match="cannot be cleaned up") as caught:
        remove_device("lost")
    assert "device remove lost --forget" in caught.value.hint
    assert remove_device("lost", forget=True).done == ("taken off the list",)
    assert load_devices() == []
