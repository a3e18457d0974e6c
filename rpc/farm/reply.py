"""What the worker process sends back to the pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from autoglm_tvm.artifacts.trial import Failure
from autoglm_tvm.rpc.device_errors import CallEnd


@dataclass(frozen=True)
class Reply:
    """The worker's answer: a value, or why there is none.

    Attributes
    ----------
    value
        What the task returned.
    failure, end, side
        Of a `TrialFailedError`.
    refusal
        The device cannot be used now: it does not answer, or is too hot.
    defect
        A traceback of something that should not happen.
    temperature_c
        The device's hottest CPU zone when it was last looked at.
    """

    value: Any = None
    failure: Failure | None = None
    end: CallEnd | None = None
    side: int | None = None
    refusal: str = ""
    defect: str = ""
    temperature_c: float | None = None
