"""The real adb client and everything that can be wrong with a phone, before it is used."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import adbutils
import pytest

from autoglm_tvm.rpc.adb.client import find_adb, list_phones, run_adb
from autoglm_tvm.rpc.adb.phone import Phone, find_phone
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.devices.adbd.adb_server import AdbServer, own_adb_server
from tests.devices.adbd.phone import SimulatedPhone

BUNDLED = str(Path(adbutils.__file__).parent / "binaries" / "adb")


@pytest.fixture(params=["adb", BUNDLED], ids=["debian", "bundled"])
def adb(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AdbServer]:
    """An old adb, as Debian has it, and a new one, as adbutils brings it."""
    (tmp_path / "adb").mkdir()
    with own_adb_server(tmp_path / "adb", request.param) as server:
        yield server


@pytest.fixture
def phone_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "phone"
    folder.mkdir()
    return folder


def test_shell_files_and_tunnels(adb: AdbServer, phone_folder: Path, tmp_path: Path) -> None:
    with SimulatedPhone(phone_folder) as simulated:
        adb.connect(simulated)
        phone = find_phone(None)
        assert phone == find_phone(simulated.serial) == Phone(simulated.serial)
        assert phone.shell("uname -m; echo $((1 + 1))", doing="x") == "aarch64\n2\n"
        assert phone.try_shell("exit 7", doing="x").returncode == 7
        with pytest.raises(MissingToolError, match="adb failed while trying: no, error"):
            phone.shell("echo no, error >&2; exit 1", doing="trying")

        files = []
        for name, content in (("empty", b""), ("large", bytes(range(256)) * 4096)):
            files.append(tmp_path / name)
            files[-1].write_bytes(content)
        folder = "/data/local/tmp/autoglm-tvm/k/bin"
        assert phone.hashes(folder) == {}
        phone.push(files, folder)
        assert (simulated.local(folder) / "large").read_bytes() == files[1].read_bytes()
        assert set(phone.hashes(folder)) == {"empty", "large"}

        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            assert not phone.has_reverse(port)
            phone.reverse(port)
            assert phone.has_reverse(port)
            assert phone.remove_reverse(port)
            assert not phone.remove_reverse(port)
        phone.forward(port)
        assert phone.has_forward(port)
        assert phone.remove_forward(port)
        assert not phone.remove_forward(port)


def test_adb_still_reverses_to_this_machine_alone(adb: AdbServer, phone_folder: Path) -> None:
    """If it fails, `rpc/devices/ports.py` can let phones reach trackers elsewhere."""
    with SimulatedPhone(phone_folder) as simulated:
        adb.connect(simulated)
        assert "127.0.0.2" in (said := adb.run("reverse", "tcp:7001", "tcp:127.0.0.2:7002"))
        assert "error" in said


def test_a_command_that_never_ends(adb: AdbServer, phone_folder: Path) -> None:
    with SimulatedPhone(phone_folder) as simulated:
        adb.connect(simulated)
        with pytest.raises(MissingToolError, match="did not answer within 1 s while sleeping"):
            find_phone(None).shell("sleep 600", doing="sleeping", timeout_s=1)


def test_adbs_server_is_started_where_none_runs(tmp_path: Path) -> None:
    with own_adb_server(tmp_path, started=False):
        assert list_phones() == []


def test_no_phone(adb: AdbServer) -> None:
    assert list_phones() == []
    with pytest.raises(MissingToolError, match="no phone is connected") as caught:
        find_phone(None)
    assert "adb devices" in caught.value.hint


def test_several_phones(adb: AdbServer, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    with SimulatedPhone(folders[0]) as one, SimulatedPhone(folders[1]) as two:
        adb.connect(one)
        adb.connect(two)
        with pytest.raises(UserInputError, match="2 phones are connected") as caught:
            find_phone(None)
        assert one.serial in caught.value.hint
        assert two.serial in caught.value.hint
        assert find_phone(two.serial) == Phone(two.serial)
        with pytest.raises(UserInputError, match="no phone of serial 'other'") as caught:
            find_phone("other")
        assert one.serial in caught.value.hint


def test_a_phone_that_has_not_allowed_it(adb: AdbServer, phone_folder: Path) -> None:
    with SimulatedPhone(phone_folder, authorized=False) as simulated:
        adb.connect(simulated)
        with pytest.raises(MissingToolError, match="has not allowed this computer") as caught:
            find_phone(None)
        assert "allow USB debugging" in caught.value.hint


@pytest.mark.slow
def test_a_phone_that_has_gone_offline(adb: AdbServer, phone_folder: Path) -> None:
    with SimulatedPhone(phone_folder) as simulated:
        adb.connect(simulated)
        phone = find_phone(None)
    # adb lists for a while what it was connected to over the network.
    with pytest.raises((MissingToolError, UserInputError), match=r"offline|no phone"):
        find_phone(None)
    with pytest.raises(MissingToolError, match=r"offline|does not see the phone|broke"):
        phone.shell("true", doing="looking")


def test_no_adb_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> str:
        raise adbutils.AdbError("No adb exe could be found")

    monkeypatch.setattr(adbutils, "adb_path", nothing)
    find_adb.cache_clear()
    with pytest.raises(MissingToolError, match="the program adb is missing") as caught:
        list_phones()
    assert "apt-get install adb" in caught.value.hint


def test_something_else_listens_on_adbs_port(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang_up(server: socket.socket) -> None:
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            client.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=hang_up, args=(server,), daemon=True).start()
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(server.getsockname()[1]))
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        with pytest.raises(MissingToolError, match=r"adb's server|no adb|adb failed") as caught:
            run_adb(["devices"], doing="looking", timeout_s=60)
        assert "adb" in caught.value.hint
        server.shutdown(socket.SHUT_RDWR)
