"""What `autoglm-tvm runtime build` makes, run on an emulated board."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import SYSROOT
from autoglm_tvm.rpc.runtime import build_runtime
from autoglm_tvm.rpc.session import connect
from tests.rpc.small_bundle import expected_outputs, small_inputs, write_small_bundle


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_it_runs_a_network_and_stands_an_error(tmp_path: Path) -> None:
    """Four minutes of one CPU, unless the cache has it."""
    import tvm

    def link(output: str, objects: list[str], **_: object) -> None:
        command = ["aarch64-linux-gnu-gcc", "-shared", "-o", output, *objects]
        subprocess.run(command, check=True, timeout=60)

    built = build_runtime("linux-arm64")
    target = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "num-cores": 2}
    directory = write_small_bundle(tmp_path / "small", target, link)
    runner = ["qemu-aarch64-static", "-L", str(SYSROOT)]
    with (
        DeviceProcess(built.folder, "board", runner) as board,
        connect(board.tracker, board.key) as session,
    ):
        inputs = small_inputs()
        outputs = session.open_bundle(directory).run(inputs)
        np.testing.assert_allclose(outputs["y"], expected_outputs(inputs)[-1], rtol=1e-5)
        # What the extra library holds, and errors that cross from library to library.
        tensor = tvm.runtime.empty((8,), "float32", session.remote.cpu(0))
        session.remote.get_function("tvm.contrib.random.random_fill")(tensor)
        assert len(set(tensor.numpy().tolist())) > 1
        with pytest.raises(Exception, match="refused file name"):
            session.remote.load_module("a/b")
        with pytest.raises(Exception, match=r"absent\.so"):
            session.remote.load_module("absent.so")
        session.remote.upload(bytearray(b"x"), "still-there")
