"""Say in plain words why a call to a device failed."""

from __future__ import annotations

import re
from enum import Enum

from autoglm_tvm.targets.errors import MissingToolError

# What TVM's client says when the connection is gone: the code that it got instead of an answer, or
# the system's words.
_CONNECTION_GONE = ("kShutdown", "code == RPCCode", "reset by peer", "Broken pipe", "closed")
_KILLED = re.compile(r"killed by signal (\d+) \(([^)]*)\)")
_SIGILL, _SIGKILL = 4, 9


class CallEnd(Enum):
    """What became of a call to a device that failed, and of the session that it was made in."""

    refused = "the device answered with an error; the session goes on"
    killed = "a signal ended the session's process"
    expired = "our deadline passed, and the session was broken off"
    limit = "the server's time limit for sessions passed"
    gone = "the connection ended without a word"


class DeviceCallError(MissingToolError):
    """A call to a device failed; ``end`` says how, for those who decide by it."""

    def __init__(self, what: str, end: CallEnd, *, where: str, hint: str) -> None:
        super().__init__(what, where=where, hint=hint)
        self.end = end


def explain(
    message: str, doing: str, where: str, hint: str, expired_after_s: float | None
) -> DeviceCallError:
    """Return the error for a failed call.

    Parameters
    ----------
    message
        What TVM says, often with a backtrace of the device.
    doing
        What was going on, as in "running cls".
    where
        The device.
    hint
        What to do where the device's code crashed.
    expired_after_s
        The deadline in seconds, if it has passed.
    """
    if expired_after_s is not None:
        return DeviceCallError(
            f"the device did not answer within {expired_after_s:g} s while {doing}; "
            "the session was broken off",
            CallEnd.expired,
            where=where,
            hint="see whether the device is still reachable, or allow more time",
        )
    if killed := _KILLED.search(message):
        return _killed(int(killed[1]), killed[2], doing, where, hint)
    if "RPCSessionTimeoutError" in message:
        return DeviceCallError(
            f"the session's time limit on the device passed while {doing}",
            CallEnd.limit,
            where=where,
            hint="start the device's server with a longer --session-limit",
        )
    if any(words in message for words in _CONNECTION_GONE):
        return DeviceCallError(
            f"the connection to the device was lost while {doing}",
            CallEnd.gone,
            where=where,
            hint="see whether the device and its server still run, and try again",
        )
    return DeviceCallError(
        f"the device refused {doing}: {_reason(message)}",
        CallEnd.refused,
        where=where,
        hint=hint or "see the log of the device's server",
    )


def _killed(number: int, name: str, doing: str, where: str, hint: str) -> DeviceCallError:
    what = f"the device's session ended while {doing}: {name} (signal {number})"
    if number == _SIGKILL:
        what += "; the device has probably run out of memory"
        hint = "close other programs on it"
    elif number == _SIGILL:
        what += "; its CPU lacks an instruction that the library uses"
    return DeviceCallError(
        what, CallEnd.killed, where=where, hint=hint or "see the log of the device's server"
    )


def _reason(message: str) -> str:
    """Return the first line of what the device says, without what TVM's client puts before it."""
    said = message.partition("Error caught from RPC call:\n")[2] or message
    return (said.strip().splitlines() or ["no message"])[0]
