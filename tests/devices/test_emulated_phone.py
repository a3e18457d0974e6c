"""The emulated phone: an arm64 device that comes and goes without a trace."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.rpc.emulation import emulated_phone as module
from autoglm_tvm.rpc.emulation.emulated_phone import (
    DEBIAN_PACKAGES,
    EmulatedPhone,
    android_libc_shims,
)
from autoglm_tvm.rpc.process_group import processes_in_groups
from autoglm_tvm.rpc.session import connect
from autoglm_tvm.targets.errors import MissingToolError
from tests.rpc.c_module import NOTHING, SDOT, build_c_module
from tests.rpc.small_bundle import expected_outputs, small_inputs, write_small_bundle

CC = "aarch64-linux-gnu-gcc"


@pytest.mark.parametrize("body_fails", [False, True])
def test_nothing_is_left_behind(body_fails: bool) -> None:
    phone = EmulatedPhone()
    try:
        with phone:
            session = connect(phone.tracker, phone.key)
            assert len(processes_in_groups(phone.groups)) == 3  # tracker, server, session
            if body_fails:
                raise RuntimeError
            session.close()
    except RuntimeError:
        assert body_fails
    assert len(phone.groups) == 2
    assert processes_in_groups(phone.groups) == []
    assert not phone.folder.exists()


def test_missing_tools_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(MissingToolError, match="qemu-aarch64-static") as caught:
        EmulatedPhone()
    assert caught.value.hint == f"apt-get install {DEBIAN_PACKAGES}"
    monkeypatch.undo()
    monkeypatch.setattr(module, "SYSROOT", Path("/nonexistent"))
    with pytest.raises(MissingToolError, match="the arm64 C library"):
        EmulatedPhone()


def test_an_instruction_that_the_cpu_lacks(emulated_phone: EmulatedPhone, tmp_path: Path) -> None:
    library = build_c_module(tmp_path, SDOT, CC)
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        session.remote.upload(str(library))
        session.remote.load_module(library.name)["f"]()
    with EmulatedPhone(cpu="cortex-a53") as old_phone:
        with connect(old_phone.tracker, old_phone.key) as session:
            session.remote.upload(str(library))
            function = session.remote.load_module(library.name)["f"]
            with (
                pytest.raises(MissingToolError, match=r"Illegal instruction.*CPU lacks"),
                session.calls("running f"),
            ):
                function()
        # The phone is there for the next one.
        good = build_c_module(tmp_path, NOTHING, CC)
        with connect(old_phone.tracker, old_phone.key) as session:
            session.remote.upload(str(good))
            session.remote.load_module(good.name)["f"]()


def test_an_android_library_loads_and_is_right(
    emulated_phone: EmulatedPhone, tmp_path: Path
) -> None:
    def link(output: str, objects: list[str], **_: object) -> None:
        shims = android_libc_shims()
        named = [f"-L{shims}", "-Wl,--no-as-needed", "-l:libc.so", "-l:libm.so"]
        command = [CC, "-shared", "-nostdlib", "-o", output, *objects, *named]
        subprocess.run(command, check=True, timeout=60)

    target = {"kind": "llvm", "mtriple": "aarch64-linux-android29", "num-cores": 2}
    directory = write_small_bundle(tmp_path / "small", target, link)
    inputs = small_inputs()
    with connect(emulated_phone.tracker, emulated_phone.key) as session:
        outputs = session.open_bundle(directory).run(inputs)
    layers = expected_outputs(inputs)
    np.testing.assert_allclose(outputs["y"], layers[-1], rtol=1e-5)
    np.testing.assert_allclose(outputs["before"], layers[-2], rtol=1e-5)
