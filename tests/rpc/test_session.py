"""Getting a device from a tracker, and running a bundle on it."""

from __future__ import annotations

import platform
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.artifacts.bundle import read_bundle
from autoglm_tvm.rpc.device_about import DeviceAbout, ask_device, refuse_other_device
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.session import DeviceSession, connect
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError, UserInputError
from tests.rpc.small_bundle import LAYERS, expected_outputs, small_inputs


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Listen on a free port; send ``answer`` to whoever comes, or say nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = threading.Event()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                if answer is not None:
                    connection.sendall(answer)
                done.wait(30)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", ":9190", "h:0", "h:65536", "h:x"]
)
def test_a_malformed_address_is_the_users_mistake(address: str) -> None:
    with pytest.raises(UserInputError, match="no tracker address"):
        connect(address, "key")


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(MissingToolError, match="no tracker answers") as caught:
        connect(f"127.0.0.1:{port}", "key")
    assert f"autoglm-tvm tracker start --port {port}" in caught.value.hint


@pytest.mark.parametrize("answer", [None, b"HTTP/1.1 400 Bad Request\r\n"])
def test_something_else_listens(answer: bytes | None) -> None:
    with listener(answer) as address, pytest.raises(MissingToolError, match="no TVM RPC tracker"):
        connect(address, "key", timeout_s=1)


def test_a_tracker_that_falls_silent() -> None:
    magic = (0x2F271).to_bytes(4, "little")
    with listener(magic) as address, pytest.raises(MissingToolError, match="does not answer"):
        connect(address, "key", timeout_s=4)


def test_a_missing_key_is_told_with_the_keys_that_are_there(device: DeviceProcess) -> None:
    with pytest.raises(MissingToolError, match=r"no device of key 'pixel8'.*: test-device\n"):
        connect(device.tracker, "pixel8")


def test_a_busy_device_is_not_waited_for_for_ever(
    device: DeviceProcess, session: DeviceSession
) -> None:
    with pytest.raises(MissingToolError, match=r"came free in time .1 connected, all busy"):
        connect(device.tracker, device.key, timeout_s=4)
    session.remote.upload(bytearray(b"x"), "still-there")


@pytest.mark.slow
def test_a_device_that_froze_is_given_up(device: DeviceProcess) -> None:
    device.wait_until_registered()
    device.server.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(MissingToolError, match="names this device, but it does not answer"):
            connect(device.tracker, device.key, timeout_s=4)
    finally:
        device.server.send_signal(signal.SIGCONT)
    device.wait_until_registered()


def test_a_bundle_gives_the_same_numbers_as_numpy(
    session: DeviceSession, small_bundle: Path
) -> None:
    bundle = session.open_bundle(small_bundle)
    inputs = small_inputs()
    for _ in range(2):
        outputs = bundle.run(inputs)
        assert list(outputs) == ["y", "before"]
        layers = expected_outputs(inputs)
        np.testing.assert_allclose(outputs["y"], layers[-1], rtol=1e-5)
        np.testing.assert_allclose(outputs["before"], layers[-2], rtol=1e-5)
        inputs = {"x": -2 * inputs["x"] + 1}
    # A second copy in the same session does not disturb the first.
    session.open_bundle(small_bundle)
    bundle.run(inputs)


def test_every_kernels_result_can_be_fetched(session: DeviceSession, small_bundle: Path) -> None:
    bundle = session.open_bundle(small_bundle)
    inputs = small_inputs()
    outputs, kernels = bundle.run_with_kernel_outputs(inputs)
    layers = expected_outputs(inputs)
    assert len(kernels) == LAYERS
    for (_, found), expected in zip(kernels, layers, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(outputs["y"], kernels[-1][1])
    # Afterwards nothing is recorded any more.
    bundle.run(inputs)
    assert session.remote.get_function("autoglm.recorder.count")() == 0


def test_a_wrong_input_is_refused_before_it_is_sent(
    session: DeviceSession, small_bundle: Path
) -> None:
    bundle = session.open_bundle(small_bundle)
    with pytest.raises(UserInputError, match="dtype"):
        bundle.run({"x": small_inputs()["x"].astype(np.float64)})


def test_a_device_says_what_it_is(session: DeviceSession) -> None:
    about = ask_device(session.remote)
    assert about is not None
    assert (about.arch, about.abis[0]) == (platform.machine(), "gnu")


def test_another_server_does_not_say_what_it_is(session: DeviceSession) -> None:
    class OtherServer:
        def get_function(self, name: str) -> object:
            return session.remote.get_function(f"other.{name}")

    assert ask_device(OtherServer()) is None


@pytest.mark.parametrize(
    ("device", "reason", "hint"),
    [
        (DeviceAbout("other", ("gnu",)), "this device is other", "--target host on a machine"),
        (DeviceAbout("aarch64", ("gnu",)), "this device is aarch64", "--target linux-arm64"),
        (DeviceAbout("aarch64", ("android",)), "device is aarch64", "--target android-arm64"),
        (
            DeviceAbout(platform.machine(), ("android",)),
            "needs glibc; this device has Android's C library",
            "--target android-",
        ),
        (DeviceAbout(platform.machine(), ("other",)), "has another C library", "--target host"),
    ],
)
def test_a_bundle_for_another_device_is_refused(
    small_bundle: Path, device: DeviceAbout, reason: str, hint: str
) -> None:
    if reason.endswith(f"is {platform.machine()}"):
        pytest.skip("this machine is that device")
    with pytest.raises(UserInputError, match=reason) as caught:
        refuse_other_device(read_bundle(small_bundle), device, "a device")
    assert hint in caught.value.hint


def test_a_changed_bundle_is_not_sent(
    session: DeviceSession, small_bundle: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in small_bundle.iterdir():
        data = bytearray(path.read_bytes())
        if path.name == "libsmall.so":
            data[-1] ^= 1
        (copy / path.name).write_bytes(data)
    with pytest.raises(CheckFailedError, match="not the one that was written"):
        session.open_bundle(copy)
