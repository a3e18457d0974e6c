"""Names that travel to a tracker, a phone's shell and file names: checked before they are used."""

from __future__ import annotations

import re

from autoglm_tvm.targets.errors import UserInputError
from autoglm_tvm.targets.presets import load_presets

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
# USB serials, HOST:PORT of adb over Wi-Fi, and the names of adb's own discovery.
_SERIAL = re.compile(r"[A-Za-z0-9\[][A-Za-z0-9._:@%()\[\] -]{0,127}")


def check_key(key: str) -> str:
    """Return a device's key if it is one.

    It is a word in the tracker's protocol, where ``:`` separates, and a folder on the phone.

    Raises
    ------
    UserInputError
        It has other characters than letters, digits, ``.``, ``_`` and ``-``.
    """
    if not _KEY.fullmatch(key) or ".." in key:
        raise UserInputError(
            f"{key!r} is no key of a device",
            where="--key",
            hint="use up to 64 letters, digits, '.', '_' and '-', for example pixel-8",
        )
    return key


def check_new_key(key: str) -> str:
    """Return the key for a device to be added; it names a target too, so no preset's name.

    Raises
    ------
    UserInputError
        It is no key, or a preset has this name.
    """
    if check_key(key) in load_presets():
        raise UserInputError(
            f"{key!r} is the name of a target", where="--key", hint="choose another key"
        )
    return key


def check_serial(serial: str) -> str:
    """Return a phone's serial if it can be one.

    Raises
    ------
    UserInputError
        It has characters that no serial has.
    """
    if not _SERIAL.fullmatch(serial):
        raise UserInputError(
            f"{serial!r} is no phone's serial",
            where="--serial",
            hint="`adb devices` lists the serials of the phones that are connected",
        )
    return serial
