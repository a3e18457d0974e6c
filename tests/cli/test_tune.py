"""`autoglm-tvm tune`: what is refused before anything is started, and the words for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.rpc.tracker import start_tracker
from tests.cli.command_line import fails, succeeds
from tests.tiny_networks import write_linear

MODEL = "model.onnx"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "where is the model to be tuned?"),
        (("--key", "k"), "where is the model to be tuned?"),
        (("--local", "--tracker", "127.0.0.1:9190", "--key", "k"), "--local tunes on this machine"),
        (("--local", "--time-limit", "soon"), "'soon' is no time"),
        (("--local", "--time-limit", "1h2"), "'1h2' is no time"),
        (("--local", "--trials", "0"), "at least one trial"),
        (("--tracker", "nowhere", "--key", "k"), "'nowhere' is no tracker address"),
    ],
)
def test_wrong_options(options: tuple[str, ...], said: str) -> None:
    fails(2, "tune", MODEL, *options, says=said)


def test_a_key_without_a_device(tmp_path: Path) -> None:
    tracker = start_tracker()
    at = ("tune", MODEL, "--tracker", tracker.address, "--key", "nobody")
    try:
        fails(3, *at, says="has no device of key 'nobody'")
    finally:
        tracker.stop()
    fails(3, *at, says=f"no tracker answers at {tracker.address}")


@pytest.mark.slow
def test_on_this_machine(tmp_path: Path) -> None:
    """A network with a free dimension has nothing that could be measured, and says so."""
    model = write_linear(tmp_path / MODEL)
    at = ("tune", model, "--local", "--records", tmp_path / "records", "--trials", 4)
    told = succeeds(*at, "--shape", "x=16,8", "--threads", 1, "--json").json
    assert told["trials"] == 4
    assert told["end_to_end"]["threads"] == 1
    fails(2, *at, says="--shape")
