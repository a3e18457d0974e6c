"""The one place that imports ONNX Runtime."""

from __future__ import annotations

import os
from types import ModuleType


def load_onnxruntime() -> ModuleType:
    """Import ONNX Runtime with its telemetry off, unless the user's environment says otherwise.

    Since 1.31 it is on by default, writes files into the temporary and the home folder, and knows
    an address to report to. A compiler has no business there.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime
