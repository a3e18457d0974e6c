"""Where settings of one user are kept: devices, the targets made for them, the tracker."""

from __future__ import annotations

import os
from pathlib import Path


def config_root() -> Path:
    """Return ``$AUTOGLM_TVM_CONFIG``, else ``autoglm-tvm`` in the user's configuration folder."""
    if chosen := os.environ.get("AUTOGLM_TVM_CONFIG"):
        return Path(chosen)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "autoglm-tvm"
