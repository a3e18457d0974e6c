"""matplotlib, which draws PNG pictures where it is installed."""

from __future__ import annotations

import importlib
from typing import Any

from autoglm_tvm.targets.errors import MissingToolError


def require_matplotlib(option: str = "--png", instead: str = "--html needs nothing") -> Any:
    """Return ``matplotlib.figure``, which draws without a display; ask before hours of work.

    Parameters
    ----------
    option
        What asked for a picture.
    instead
        What can be had without matplotlib.

    Raises
    ------
    MissingToolError
        matplotlib is not installed.
    """
    try:
        importlib.import_module("matplotlib")
        return importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise MissingToolError(
            "matplotlib, which draws the picture, is not installed",
            where=option,
            hint=f'pip install "autoglm-tvm[bench]", or leave {option} out: {instead}',
        ) from error
