"""docs/devices.md from the cable to the tuned bundle, command by command, on an emulated phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from autoglm_tvm.rpc.tracker import TrackerProcess, start_tracker
from tests.cli.command_line import succeeds
from tests.compiler.onnx_text import model_from_text, random_array
from tests.devices.adbd.adb_server import own_adb_server
from tests.devices.adbd.phone import SimulatedPhone

KEY = "test-phone-8"
TRIALS = 12
# With the other tests of the real adb on one worker: each has a server of its own, and starts it.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("onboarding")]


@pytest.fixture
def tracker() -> Iterator[TrackerProcess]:
    started = start_tracker()
    yield started
    started.stop()


@pytest.fixture
def phone(tmp_path: Path, settings: Path) -> Iterator[SimulatedPhone]:
    for folder in ("adb", "phone"):
        (tmp_path / folder).mkdir()
    with (
        own_adb_server(tmp_path / "adb") as adb,
        SimulatedPhone(tmp_path / "phone", cpu="cortex-a76") as simulated,
    ):
        adb.connect(simulated)
        yield simulated
        adb.run("disconnect", simulated.serial)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    weights = {"w1": random_array(16, 8, 3, 3, scale=0.1), "wp": random_array(32, 16, 1, 1)}
    body = "c = Conv <pads = [1,1,1,1]> (x, w1) r = Relu(c) y = Conv (r, wp)"
    path = tmp_path / "small.onnx"
    text = f"g (float[1,8,20,20] x) => (float[a,b,c,d] y) {{ {body} }}"
    onnx.save(model_from_text(text, weights), path)
    return path


def test_from_the_cable_to_the_tuned_bundle(
    phone: SimulatedPhone, tracker: TrackerProcess, model: Path, tmp_path: Path
) -> None:
    at = ("--tracker", tracker.address, "--key", KEY)
    added = succeeds("device", "add", "--tracker", tracker.address, "--json").json
    assert (added["device"]["key"], added["device"]["serial"]) == (KEY, phone.serial)
    assert f"{KEY} at {tracker.address} is ready" in succeeds("device", "check", KEY).stdout

    untuned, tuned = tmp_path / "untuned", tmp_path / "tuned"
    succeeds("compile", model, "--target", KEY, "-o", untuned)
    verified = succeeds("verify", untuned, "--reference", model, *at, "--json").json
    assert verified["ok"]

    records, page = tmp_path / "records", tmp_path / "tuning.html"
    told = succeeds(
        *("tune", model, *at, "--records", records, "--trials", TRIALS, "--threads", 2),
        *("--html", page, "--json"),
    ).json
    assert told["target"] == KEY
    assert (told["trials"], told["failures"]) == (TRIALS, {}), told["failure_examples"]
    assert told["end_to_end"]["ratio"] > 0
    assert page.read_text().count("<svg") >= 1
    lines = [
        json.loads(x) for path in records.glob("*.jsonl") for x in path.read_text().split("\n") if x
    ]
    assert {line["device"] for line in lines} == {"Maker Chip 3"}
    assert succeeds("records", "show", records, "--json").json

    done = succeeds(
        *("compile", model, "--target", KEY, "--threads", 2, "--records", records, "-o", tuned),
        "--json",
    ).json
    assert len(done["records"]["best"]) == told["kept_records"]
    again = succeeds("verify", tuned, "--reference", model, *at, "--per-layer", "--json").json
    assert again["ok"]
    benched = succeeds("bench", tuned, *at, "--samples", 5, "--warm-up", 1, "--json").json
    assert benched["latency"]
    assert "stopped" in succeeds("device", "remove", KEY).stdout
