"""Where our files lie on a phone: the one folder that adb's shell may write and run files in."""

from __future__ import annotations

FOLDER = "/data/local/tmp/autoglm-tvm"


def device_folder(key: str) -> str:
    """Return the folder of one device; ``key`` was checked before."""
    return f"{FOLDER}/{key}"
