"""Every way in which a trial fails by itself: it is told apart, and the next trial runs."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.farm import DevicePool, FailureKind, Trial
from tests.rpc.c_module import HANGS, SDOT
from tests.rpc.farm.kernels import ARM64_CC, LEAVES, SEGFAULTS, check_of, kernel
from tests.small_disk import run_on_disk

OpenPool = Callable[..., DevicePool]
BadTrial = Callable[[Path], Trial]


def _no_library(folder: Path) -> Trial:
    trial = kernel(folder, "bad")
    trial.library.unlink()
    return trial


def _not_a_library(folder: Path) -> Trial:
    trial = kernel(folder, "bad")
    trial.library.write_bytes(b"text")
    return trial


def _no_function(folder: Path) -> Trial:
    return replace(kernel(folder, "bad"), function="g")


def _unresolved_symbol(folder: Path) -> Trial:
    trial = kernel(folder, "bad", "extern void not_there(void); not_there();")
    source = trial.library.with_name("f.c")
    command = ["gcc", "-shared", "-fPIC", "-Wl,-z,now", "-o", trial.library, source]
    subprocess.run(command, check=True, timeout=60)
    return trial


def _refuses(folder: Path) -> Trial:
    # A kernel's own check of its arguments answers so.
    return kernel(folder, "bad", "return -1;")


FAILURES: list[tuple[BadTrial, FailureKind, str]] = [
    (_no_library, FailureKind.upload, "cannot be read: No such file"),
    (_not_a_library, FailureKind.link, r"refused loading libf.so: .*(short|invalid)"),
    (_no_function, FailureKind.link, "refused loading libf.so"),
    (_unresolved_symbol, FailureKind.link, "undefined symbol: not_there"),
    (lambda folder: kernel(folder, "bad", SEGFAULTS), FailureKind.crash, r"\(signal 11\)"),
    (lambda folder: kernel(folder, "bad", "abort();"), FailureKind.crash, r"\(signal 6\)"),
    (lambda folder: kernel(folder, "bad", LEAVES), FailureKind.crash, "twice, while the device"),
]


@pytest.mark.parametrize(("make_bad", "kind", "message"), FAILURES)
def test_it_is_classed_and_the_next_trial_runs(
    make_bad: BadTrial,
    kind: FailureKind,
    message: str,
    device: DeviceProcess,
    open_pool: OpenPool,
    tmp_path: Path,
) -> None:
    bad, good = make_bad(tmp_path), kernel(tmp_path, "good")
    with open_pool(device) as pool:
        failed, measured = pool.measure([bad, good])
        assert failed.failure is not None
        assert failed.failure.kind is kind
        assert re.search(message, failed.failure.message), failed.failure.message
        assert failed.samples == ()
        assert failed.seconds == float("inf")
        assert measured.failure is None
        (status,) = pool.status()
        assert (status.trials, status.failures, status.failures_in_a_row) == (2, 1, 0)
        # The same in a comparison and in a check, with the right one to blame.
        first, second = pool.compare([(bad, good), (good, bad)])
        assert (first.failed, first.ratio, second.failed, second.ratio) == (0, 0.0, 1, float("inf"))
        (checked,) = pool.check([check_of(bad, good)])
        assert checked is not None
        assert checked.kind is kind


@pytest.mark.slow
def test_a_kernel_that_never_ends(
    device: DeviceProcess, open_pool: OpenPool, tmp_path: Path
) -> None:
    trials = [kernel(tmp_path, "hangs", HANGS), kernel(tmp_path, "good")]
    with open_pool(device, run_s=1) as pool:
        failed, measured = pool.measure(trials)
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.time_out
    assert "did not answer within 1.2 s while running hangs" in failed.failure.message
    assert failed.device == measured.device
    assert measured.failure is None


@pytest.mark.slow
def test_an_instruction_that_the_phone_lacks(open_pool: OpenPool, tmp_path: Path) -> None:
    trials = [kernel(tmp_path, "sdot", SDOT, ARM64_CC), kernel(tmp_path, "good", compiler=ARM64_CC)]
    with EmulatedPhone(cpu="cortex-a53") as phone, open_pool(phone) as pool:
        failed, measured = pool.measure(trials)
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.crash
    assert "Illegal instruction (signal 4); its CPU lacks an instruction" in failed.failure.message
    assert measured.failure is None


_FULL_DISK = """
import json, tempfile
from pathlib import Path
tempfile.tempdir = sys.argv[1]
server, small, large = map(Path, sys.argv[3:])
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.farm import DevicePool
from tests.rpc.farm.conftest import QUICK
from tests.rpc.farm.kernels import VECTOR
from autoglm_tvm.rpc.farm import Trial

def trial(library):
    return Trial(library.parent.name, library, "f", (VECTOR, VECTOR), 1)

with DeviceProcess(server, "full") as device:
    tempfile.tempdir = None
    with DevicePool(device.tracker, device.key, settings=QUICK) as pool:
        found = pool.measure([trial(large), trial(small), trial(large), trial(small)])
        print(json.dumps([m.failure and [m.failure.kind.value, m.failure.message] for m in found]))
"""


def test_a_full_disk_on_the_device(server_folder: Path, tmp_path: Path) -> None:
    small = kernel(tmp_path, "small").library
    large = kernel(tmp_path, "large", "static char data[1 << 20] = {1}; data[count] = 1;").library
    disk = tmp_path / "disk"
    disk.mkdir()
    found = run_on_disk(disk, "size=512k", _FULL_DISK, server_folder, small, large)
    assert found[1] is None
    assert found[3] is None
    for kind, message in (found[0], found[2]):
        assert kind == "upload"
        assert "No space left on device" in message
