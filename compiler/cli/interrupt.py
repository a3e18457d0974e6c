"""Ctrl-C, which TVM swallows: an exception raised in one of its callbacks becomes another error."""

from __future__ import annotations

import signal
from types import FrameType

_state = {"asked": False}


def catch_interrupts() -> None:
    """Remember every Ctrl-C from now on, and raise `KeyboardInterrupt` as Python does."""
    signal.signal(signal.SIGINT, _handle)


def interrupted() -> bool:
    """Whether the user asked for an end, whatever became of the exception."""
    return _state["asked"]


def end_if_interrupted() -> None:
    """Raise `KeyboardInterrupt` if one was swallowed on the way here."""
    if interrupted():
        raise KeyboardInterrupt


def _handle(_signal: int, _frame: FrameType | None) -> None:
    _state["asked"] = True
    raise KeyboardInterrupt
