"""This machine as a device, and a small network to tune on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from autoglm_tvm.rpc.farm import DevicePool, LocalDevice, MeasureSettings, local_device
from tests.compiler.onnx_text import model_from_text, random_array

# Short: these tests are about what happens, not about what is faster.
QUICK = MeasureSettings(warmup_ms=1, samples=3, sample_us=500, limit_ms=200)


@pytest.fixture(scope="session")
def here() -> Iterator[LocalDevice]:
    """This machine behind a tracker of its own."""
    with local_device() as device:
        yield device


@pytest.fixture
def pool(here: LocalDevice) -> Iterator[DevicePool]:
    """The devices of `here`."""
    with DevicePool(here.tracker, here.key, settings=QUICK) as opened:
        yield opened


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution, a depthwise one, a pointwise one and a softmax."""
    weights = {
        "w1": random_array(16, 8, 3, 3, scale=0.1),
        "wd": random_array(16, 1, 3, 3),
        "wp": random_array(48, 16, 1, 1),
    }
    body = """
        c = Conv <pads = [1, 1, 1, 1]> (x, w1)
        r = Relu(c)
        d = Conv <pads = [1, 1, 1, 1], group = 16> (r, wd)
        p = Conv (d, wp)
        y = Softmax <axis = 1> (p)
    """
    path = tmp_path_factory.mktemp("models") / "small.onnx"
    model = model_from_text(f"g (float[1,8,28,28] x) => (float[a,b,c,d] y) {{ {body} }}", weights)
    onnx.save(model, path)
    return path
