"""The native server's own functions, compiled for arm64."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from autoglm_tvm.rpc.device_build import build_device_server
from autoglm_tvm.rpc.emulation.device_process import DeviceProcess
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from autoglm_tvm.rpc.session import DeviceSession, connect
from tests.rpc.c_module import COUNTS, build_c_module


def filled(session: DeviceSession, dtype: str) -> np.ndarray:
    import tvm

    tensor = tvm.runtime.empty((1000,), dtype, session.remote.cpu(0))
    session.remote.get_function("autoglm.measure.random")(tensor, 7)
    return tensor.numpy().astype("float64")


def test_its_random_numbers_are_this_machines(
    emulated_phone: EmulatedPhone,
) -> None:
    with (
        DeviceProcess(build_device_server("host"), "host") as device,
        connect(device.tracker, device.key) as session,
        connect(emulated_phone.tracker, emulated_phone.key) as phone,
    ):
        for dtype in ("float16", "bfloat16", "float32", "int8", "uint8", "int64"):
            np.testing.assert_array_equal(filled(phone, dtype), filled(session, dtype))


def test_it_times_pins_and_tells(emulated_phone: EmulatedPhone, tmp_path: Path) -> None:
    import tvm

    library = build_c_module(tmp_path, COUNTS, "aarch64-linux-gnu-gcc")
    with connect(emulated_phone.tracker, emulated_phone.key) as phone, phone.calls("measuring"):
        remote = phone.remote
        assert remote.get_function("autoglm.device.pin")("0") == "0"
        remote.get_function("runtime.config_threadpool")(1, 4)
        assert remote.get_function("runtime.NumThreads")() == 1
        remote.upload(str(library), "count.so")
        module = remote.load_module("count.so")
        tensor = tvm.runtime.tensor(np.zeros(1, "int32"), remote.cpu(0))
        measure = remote.get_function("autoglm.measure.kernel")
        data = measure(module, "f", 1, 5, 10, 1000, 60_000, tensor)
        assert np.frombuffer(data, "<f8").reshape(-1, 2).shape == (10, 2)
        assert tensor.numpy()[0] > 10
        assert remote.get_function("autoglm.device.peak_memory")() > 0
        files = json.loads(remote.get_function("autoglm.device.read")("cpu"))
        assert "/proc/cpuinfo" in files
