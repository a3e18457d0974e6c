"""`autoglm-tvm bench`: the table, the JSON, the pictures, and everything that is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.compiler import compile
from autoglm_tvm.rpc.emulation.emulated_phone import EmulatedPhone
from tests.cli.command_line import MODULE, fails, run, succeeds
from tests.tiny_networks import linear_input

QUICK = ("--samples", 12, "--warm-up", 0, "--cpus", 0, "--threads", 1)


def test_the_table_has_the_numbers_and_their_circumstances(linear_bundle: Path) -> None:
    printed = succeeds("bench", linear_bundle, *QUICK, "--profile").stdout
    for word in (
        "p50",
        "p90",
        "p99",
        "spread",
        "1 thread, pinned to 0",
        "warm-up",
        "memory",
        "energy",
        "temperature",
        "all kernels",
    ):
        assert word in printed
    assert "note: no warm-up was asked for" in printed


def test_json_and_pictures(linear_bundle: Path, tmp_path: Path) -> None:
    inputs, arrays = tmp_path / "x.npz", dict[str, Any](linear_input())
    np.savez(inputs, **arrays)
    html, png = tmp_path / "r.html", tmp_path / "r.png"
    found = succeeds(
        "bench", linear_bundle, *QUICK, "--inputs", inputs, "--html", html, "--png", png, "--json"
    ).json
    assert found["format"] == "autoglm-tvm-bench/1"
    assert found["inputs"] == "given"
    assert len(found["samples_ms"]) == 12
    assert found["profile"] is None
    assert f"{found['latency']['p50_ms']:.4f} ms" in html.read_text("utf-8")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_symbolic_dimensions_want_a_size(linear_model: Path, tmp_path: Path) -> None:
    compile(linear_model, "host", tmp_path / "b", threads=1)
    fails(2, "bench", tmp_path / "b", says="dimension 'n' has no size")
    hint = run("bench", tmp_path / "b").stderr
    assert "--shape x=1,8" in hint
    found = succeeds("bench", tmp_path / "b", *QUICK, "--shape", "x=5,8", "--json").json
    assert found["inputs"].endswith("n = 5")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--key", "k"), "--tracker and --key go together"),
        (("--cpus", "fast"), "--cpus: 'fast' cannot"),
        (("--samples", 0), "--samples: 0"),
        (("--max-temperature", "warm"), "'warm' is no temperature"),
        (("--max-temperature", "-5"), "--max-temperature: -5.0"),
        (("--shape", "x"), "is not of the form"),
        (("--shape", "y=1"), "no input takes the shape y=1"),
        (("--html", "nowhere/r.html"), "there is no such folder"),
        (("--png", "."), "it is a folder"),
        (("--inputs", "nothing.npz"), "there is no such file"),
        (("--tracker", "nonsense", "--key", "k"), "is no tracker address"),
    ],
)
def test_what_is_refused(
    arguments: tuple[object, ...],
    says: str,
    linear_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    fails(2, "bench", linear_bundle, *arguments, says=says, changes=tmp_path)


def test_no_bundle_and_a_bundle_for_a_phone(tmp_path: Path, phone_bundle: Path) -> None:
    fails(2, "bench", tmp_path / "none", says="no bundle")
    fails(2, "bench", phone_bundle, says="--tracker HOST:PORT")


def test_no_matplotlib_is_said_before_anything_is_measured(
    linear_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    fails(3, "bench", linear_bundle, "--png", tmp_path / "r.png", says="matplotlib")


def test_a_disk_that_is_full(linear_bundle: Path) -> None:
    fails(2, "bench", linear_bundle, *QUICK, "--html", "/dev/full", says="cannot write /dev/full")


@pytest.mark.slow
def test_ctrl_c_ends_it(linear_bundle: Path, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    arguments = [*map(str, QUICK), "--sustained", "10", "--html", str(page)]
    with subprocess.Popen(
        [sys.executable, "-m", MODULE, "bench", str(linear_bundle), *arguments],
        stderr=subprocess.PIPE,
        # Progress is shown on terminals only.
        env={**os.environ, "FORCE_COLOR": "1"},
    ) as process:
        assert process.stderr is not None
        try:
            said = b""
            while b"under load" not in said:
                piece = os.read(process.stderr.fileno(), 4096)
                assert piece, said
                said += piece
            process.send_signal(signal.SIGINT)
            _, rest = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert b"interrupted" in rest
    assert b"Traceback" not in rest
    assert not page.exists()


@pytest.mark.slow
def test_a_phone(emulated_phone: EmulatedPhone, phone_bundle: Path, tmp_path: Path) -> None:
    where = ("--tracker", emulated_phone.tracker, "--key", emulated_phone.key)
    found = succeeds(
        "bench",
        phone_bundle,
        *where,
        "--samples",
        10,
        "--warm-up",
        1,
        "--profile",
        "--json",
        "--html",
        tmp_path / "r.html",
    ).json
    assert emulated_phone.key in found["where"]
    assert found["profile"]["kernels"]
    assert any("emulated" in note for note in found["notes"])
    # The phone shows the zones of the machine that it is emulated on, if that has any.
    if not found["zones_before"]:
        assert found["gate"] is None
    fails(3, "bench", phone_bundle, *where[:3], "nobody", says="no device of key 'nobody'")
