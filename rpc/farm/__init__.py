"""Runs tuning trials on many devices, and says of every failure what it was."""

from __future__ import annotations

from autoglm_tvm.artifacts.trial import (
    Check,
    Comparison,
    Failure,
    FailureKind,
    Measurement,
    TensorType,
    Trial,
)
from autoglm_tvm.rpc.farm.device_book import DeviceState, DeviceStatus
from autoglm_tvm.rpc.farm.limits import Limits, MeasureSettings
from autoglm_tvm.rpc.farm.local_device import LocalDevice, local_device
from autoglm_tvm.rpc.farm.pool import DevicePool

__all__ = [
    "Check",
    "Comparison",
    "DevicePool",
    "DeviceState",
    "DeviceStatus",
    "Failure",
    "FailureKind",
    "Limits",
    "LocalDevice",
    "MeasureSettings",
    "Measurement",
    "TensorType",
    "Trial",
    "local_device",
]
