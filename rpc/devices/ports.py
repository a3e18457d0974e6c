"""Ports: the one that a device's server has on the phone and here, and the way to the tracker."""

from __future__ import annotations

import socket
from collections.abc import Collection

from autoglm_tvm.rpc.adb.phone import Phone
from autoglm_tvm.rpc.tracker_client import parse_address
from autoglm_tvm.targets.errors import MissingToolError, UserInputError

# Above the ports of tracker and servers that run on this machine itself.
_FIRST, _LAST = 9300, 9999
# Where `adb reverse` ends; newer adbs, too, refuse a port of another host.
_OWN_HOSTS = ("127.0.0.1", "localhost")


def free_port(taken: Collection[int]) -> int:
    """Return a port of this machine that nobody listens on and that is not ``taken``.

    Raises
    ------
    MissingToolError
        There is none.
    """
    for port in range(_FIRST, _LAST + 1):
        if port not in taken and _is_free(port):
            return port
    raise MissingToolError(
        f"every port from {_FIRST} to {_LAST} is taken on this machine",
        hint="remove devices that you no longer use: autoglm-tvm device remove KEY",
    )


def tracker_port(tracker: str) -> int:
    """Return the port of a tracker that a phone can be led to.

    Raises
    ------
    UserInputError
        The address is malformed, or not 127.0.0.1: `adb reverse` leads to no other.
    """
    host, port = parse_address(tracker)
    if host not in _OWN_HOSTS:
        raise UserInputError(
            f"a phone reaches a tracker only at 127.0.0.1 of this computer, not at {host}",
            where="--tracker",
            hint=f"take a tunnel: ssh -N -L {port}:127.0.0.1:{port} {host}; "
            f"then --tracker 127.0.0.1:{port} (docs/security.md)",
        )
    return port


def connect_tracker(phone: Phone, port: int) -> bool:
    """Let the phone's ``port`` lead to the same port here, the tracker's; False where it did."""
    if phone.has_reverse(port):
        return False
    phone.reverse(port)
    return True


def connect_server(phone: Phone, port: int) -> bool:
    """Let this machine's ``port`` lead to the phone's; False where it did already."""
    if phone.has_forward(port):
        return False
    phone.forward(port)
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
