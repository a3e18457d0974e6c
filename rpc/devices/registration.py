"""Wait until a device's server stands at the tracker."""

from __future__ import annotations

import time

from autoglm_tvm.rpc.devices.phone_server import PhoneServer
from autoglm_tvm.rpc.tracker_client import TrackerClient
from autoglm_tvm.targets.errors import MissingToolError

_POLL_S = 0.2
_ANSWER_S = 20


def check_tracker(tracker: str) -> None:
    """Raise `MissingToolError` unless a tracker answers."""
    with TrackerClient(tracker, _ANSWER_S) as client:
        client.devices()


def is_registered(tracker: str, key: str) -> bool:
    """Whether a device of this key is connected to the tracker, free or busy."""
    with TrackerClient(tracker, _ANSWER_S) as client:
        return key in client.devices()


def wait_until_registered(
    server: PhoneServer, tracker: str, key: str, timeout_s: float = 60
) -> None:
    """Wait until the server that was just started is at the tracker.

    Raises
    ------
    MissingToolError
        It is not in time; the message has what the server said.
    """
    deadline = time.monotonic() + timeout_s
    # Another device may have this key, so the server's own word is needed too.
    while not ("registered as" in (log := server.log()) and is_registered(tracker, key)):
        if time.monotonic() > deadline or server.process() is None:
            said = (log.strip().splitlines() or ["nothing"])[-1]
            raise MissingToolError(
                f"the phone's server did not register at the tracker within {timeout_s:g} s; "
                f"it says: {said}",
                where=f"device {key!r}, tracker {tracker}",
                hint="see that the tracker runs (autoglm-tvm tracker status), unlock the phone "
                "and plug it in again, then: autoglm-tvm device add",
            )
        time.sleep(_POLL_S)
