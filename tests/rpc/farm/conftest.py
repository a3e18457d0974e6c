"""Fixtures: a device that may be killed, pools, and calls in the background."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.farm import DevicePool, Limits, MeasureSettings

T = TypeVar("T")
# As short as a test can bear: it is not the numbers that count here.
QUICK = MeasureSettings(warmup_ms=0, samples=3, sample_us=100, limit_ms=200)
DEADLINE_S = 120.0


@pytest.fixture
def own_device(server_folder: Path) -> Iterator[DeviceProcess]:
    """A device that the test may kill."""
    with DeviceProcess(server_folder, "farm-device") as process:
        yield process


@pytest.fixture
def events() -> list[str]:
    """What the pools of `open_pool` have told."""
    return []


@pytest.fixture
def open_pool(events: list[str]) -> Callable[..., DevicePool]:
    """Return a function that makes a pool on a device, given limits."""

    def make(device: DeviceProcess, **limits: Any) -> DevicePool:
        limits.setdefault("run_s", DEADLINE_S)
        limits.setdefault("lost_timeout_s", DEADLINE_S)
        return DevicePool(
            device.tracker,
            device.key,
            limits=Limits(**limits),
            settings=QUICK,
            on_event=events.append,
        )

    return make


@contextmanager
def in_background(call: Callable[[], T]) -> Iterator[Callable[[], T]]:
    """Begin a call in a thread; what it returns can be asked for in the block.

    It is the call that goes to another thread and not what happens meanwhile: servers that are
    started in a thread end with it.
    """
    with ThreadPoolExecutor(1) as executor:
        future = executor.submit(call)
        yield lambda: future.result(DEADLINE_S)
