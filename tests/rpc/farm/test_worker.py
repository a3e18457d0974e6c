"""Why a worker is a process, and how results are compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.rpc.connection import Connection
from autoglm_tvm.rpc.device_errors import CallEnd
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.farm import Limits
from autoglm_tvm.rpc.farm.compare_arrays import difference
from autoglm_tvm.rpc.farm.on_device import DeviceSteps, TrialFailedError
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.session import DeviceSession, connect

_RESCUE = """
import os, signal, sys, time
time.sleep(5)
open(sys.argv[2], "w").close()
os.kill(int(sys.argv[1]), signal.SIGCONT)
"""


@pytest.mark.slow
def test_tvm_still_holds_pythons_lock_while_it_frees_what_lies_on_a_device(
    own_device: DeviceProcess, tmp_path: Path
) -> None:
    """Where this fails, TVM has mended it, and workers may become threads.

    The device's session is stopped. A thread of ours would let it go on after 0.1 s, but does not
    get Python's lock. So another process has to, after 5 s.
    """
    import tvm

    with connect(own_device.tracker, own_device.key) as session:
        tensor = tvm.runtime.tensor(np.zeros(4, np.float32), session.remote.cpu(0))
        (process,) = set(processes_in_groups([own_device.server.pid])) - {own_device.server.pid}
        mark = tmp_path / "rescued"

        def let_it_go_on() -> None:
            time.sleep(0.1)
            if not mark.exists():
                rescuer.kill()
                os.kill(process, signal.SIGCONT)

        with subprocess.Popen([sys.executable, "-c", _RESCUE, str(process), str(mark)]) as rescuer:
            os.kill(process, signal.SIGSTOP)
            thread = threading.Thread(target=let_it_go_on)
            thread.start()
            del tensor
            thread.join()
        assert mark.exists()


def test_another_server_than_ours_is_told() -> None:
    class OtherServer:
        def get_function(self, name: str) -> object:
            raise AttributeError(f"no function {name}")

    session = DeviceSession(OtherServer(), Connection("127.0.0.1", 1), "a device", 60)
    with pytest.raises(TrialFailedError, match=r"it has to run autoglm-device-server\)") as caught:
        DeviceSteps(session, Limits()).look_for_functions()
    assert caught.value.end is CallEnd.refused


FLOATS = np.array([1.0, -4.0, np.nan, np.inf], np.float32)


@pytest.mark.parametrize(
    ("found", "reference", "message"),
    [
        (FLOATS, FLOATS, ""),
        (FLOATS + np.float32(0.003), FLOATS, ""),
        (FLOATS + np.float32(0.008), FLOATS, "differs by 0.002 of the largest magnitude"),
        (np.array([1, -4, np.inf, np.nan], np.float32), FLOATS, "NaN or Inf"),
        (np.array([np.nan, -4, np.nan, np.inf], np.float32), FLOATS, "NaN or Inf"),
        (FLOATS[2:], FLOATS[2:], ""),
        (FLOATS[:0], FLOATS[:0], ""),
        (FLOATS[:2], FLOATS, r"is float32\[2\], the reference is float32\[4\]"),
        (FLOATS.astype(np.float64), FLOATS, r"is float64\[4\]"),
        (np.array([0.5]), np.array([0.0]), "differs by 0.5"),
        (np.array([1, 2, 3]), np.array([1, 2, 3]), ""),
        (np.array([1, 2, 3]), np.array([1, 3, 4]), "2 of 3 integers differ"),
        (np.array([True]), np.array([False]), "1 of 1 integers differ"),
    ],
)
def test_difference(found: np.ndarray, reference: np.ndarray, message: str) -> None:
    said = difference(found, reference, 1e-3)
    assert re.match(message or "$", said), said
