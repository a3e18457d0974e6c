"""What adb's messages mean, and what to do about them."""

from __future__ import annotations

from autoglm_tvm.targets.errors import MissingToolError

AUTHORIZE_HINT = (
    "unlock the phone and allow USB debugging for this computer; if it does not ask: "
    "Developer options > Revoke USB debugging authorizations, and plug it in again"
)
OFFLINE_HINT = (
    "plug the phone in again and unlock it; if it stays offline: adb kill-server, or restart it"
)
PERMISSION_HINT = (
    "install the udev rules (apt-get install android-sdk-platform-tools-common), join the group "
    "plugdev, and plug the phone in again"
)
CABLE_HINT = (
    "connect it with a cable that carries data, turn on USB debugging "
    "(docs/devices.md, 'Prepare the phone'), and see: adb devices"
)
_SERVER_HINT = (
    "see who listens on adb's port (5037, or $ANDROID_ADB_SERVER_PORT), and then: "
    "adb kill-server; adb start-server"
)
_PORT_HINT = "see who listens: ss -ltnp; or let us choose another one: autoglm-tvm device add"
# Part of adb's message, what it means, what to do.
_MEANINGS = (
    ("unauthorized", "the phone has not allowed this computer to debug it", AUTHORIZE_HINT),
    ("no permissions", "this user may not open the phone's USB device", PERMISSION_HINT),
    ("offline", "the phone is connected but does not answer (offline)", OFFLINE_HINT),
    ("still authorizing", "the phone is just being authorized", "try again in a few seconds"),
    ("not found", "adb does not see the phone", CABLE_HINT),
    ("no devices", "adb does not see any phone", CABLE_HINT),
    ("cannot connect to daemon", "adb's server does not run and cannot be started", _SERVER_HINT),
    ("failed to start daemon", "adb's server cannot be started", _SERVER_HINT),
    ("protocol fault", "what listens on adb's port is no adb", _SERVER_HINT),
    ("failed to check server version", "what listens on adb's port is no adb", _SERVER_HINT),
    ("cannot bind", "the port is taken on this computer", _PORT_HINT),
    ("No space left", "the phone's storage is full", "free some of its storage"),
    ("error: closed", "the phone broke the connection off", OFFLINE_HINT),
)


def explain_adb(message: str, doing: str, serial: str) -> MissingToolError:
    """Return the error for a failed adb command.

    Parameters
    ----------
    message
        What adb printed.
    doing
        What the command was for.
    serial
        The phone, or empty.
    """
    where = f"phone {serial}" if serial else ""
    for words, meaning, hint in _MEANINGS:
        if words in message:
            return MissingToolError(f"{meaning} (while {doing})", where=where, hint=hint)
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    said = next((line for line in lines if "rror" in line or "ailed" in line), None)
    last = lines[-1] if lines else "no message"
    return MissingToolError(
        f"adb failed while {doing}: {said or last}", where=where, hint=CABLE_HINT
    )


def explain_state(state: str, serial: str) -> MissingToolError:
    """Return the error for a phone that adb lists in another state than ``device``."""
    where = f"phone {serial}"
    for words, meaning, hint in _MEANINGS:
        if words in state:
            return MissingToolError(meaning, where=where, hint=hint)
    return MissingToolError(
        f"the phone is not running Android, but is in the state {state!r}",
        where=where,
        hint="wait until it has started, or start it: adb reboot",
    )
