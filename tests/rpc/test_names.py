"""Names from users: keys and serials."""

from __future__ import annotations

import pytest

from autoglm_tvm.rpc.names import check_key, check_new_key, check_serial
from autoglm_tvm.targets.errors import UserInputError


@pytest.mark.parametrize("key", ["pixel-8", "a", "Phone_1.b", "x" * 64])
def test_good_keys(key: str) -> None:
    assert check_new_key(key) == key


@pytest.mark.parametrize(
    "key", ["", "a:b", "a b", "../x", "a/b", "-x", ".", "a..b", "x" * 65, "a\n", "ü", "$(reboot)"]
)
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(UserInputError, match="no key of a device"):
        check_key(key)


def test_the_name_of_a_preset_is_no_new_key() -> None:
    assert check_key("android-arm64") == "android-arm64"
    with pytest.raises(UserInputError, match="name of a target"):
        check_new_key("android-arm64")


@pytest.mark.parametrize(
    "serial",
    ["R58M123ABCD", "192.168.1.5:5555", "emulator-5554", "adb-1A2B-x (2)._adb-tls-connect._tcp"],
)
def test_good_serials(serial: str) -> None:
    assert check_serial(serial) == serial


@pytest.mark.parametrize("serial", ["", "-s", "a;b", "a\tb", "a'b", "x" * 200])
def test_what_is_no_serial(serial: str) -> None:
    with pytest.raises(UserInputError, match="no phone's serial"):
        check_serial(serial)
