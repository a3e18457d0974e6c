"""The command: exit codes, peers that fail, and one real run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm_tvm.targets.errors import UserInputError
from benchmarks import bundles, latency, measure
from benchmarks.models.catalog import all_cases
from benchmarks.peers import installed
from benchmarks.peers.installed import PeerKind, choose_peers, installed_peers
from benchmarks.peers.peer import PeerError, Task
from tests.benchmarks.test_report import make_row

COMMAND = [sys.executable, str(latency.__file__)]


def run_main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["latency.py", *arguments])
    return latency.main()


def answer_with(monkeypatch: pytest.MonkeyPatch, *answers: Any) -> list[Any]:
    """Let the measuring process answer so; return the requests that it will have got."""
    requests: list[Any] = []
    waiting = list(answers)

    def ask(request: Any) -> Any:
        requests.append(request)
        return dict(waiting.pop(0))

    monkeypatch.setattr(latency, "_ask", ask)
    return requests


@pytest.mark.parametrize(("right", "code"), [(True, 0), (False, 1)])
def test_a_wrong_result_fails_the_command(
    right: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(monkeypatch, make_row("gemv", 1.0, right=right))
    assert run_main(monkeypatch, "--models", "gemv", "--threads", "1", "--peers", "none") == code
    assert ("WRONG RESULT" in capsys.readouterr().out) is not right


def test_a_failed_model_fails_the_command_behind_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer_with(monkeypatch, {"error": "no"}, make_row("softmax", 1.0))
    arguments = ("--models", "gemv,softmax", "--threads", "1", "--peers", "none")
    assert run_main(monkeypatch, *arguments) == 1
    printed = capsys.readouterr().out
    assert "FAILED: no" in printed
    assert "softmax 1.00" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ("--models", "resnet19"),
        ("--threads", "0"),
        ("--threads", "4096"),
        ("--threads", "two"),
        ("--peers", "abacus"),
        ("--compare", "/nowhere/bench.json"),
    ],
)
def test_a_users_mistake_is_one_message(
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    requests = answer_with(monkeypatch)
    assert run_main(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert not requests


def test_a_peer_that_kills_the_process_does_not_take_us_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(latency, "choose_peers", lambda _names: ["onnxruntime", "ncnn"])
    died = {"error": "died of SIGSEGV", "died": True}
    requests = answer_with(monkeypatch, died, make_row("gemv", 1.0))
    assert run_main(monkeypatch, "--models", "gemv", "--threads", "1") == 0
    assert [request["peers"] for request in requests] == [["ncnn"], []]


def test_peers_that_are_absent_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_peers()[0] == "onnxruntime"
    assert choose_peers("none") == ["onnxruntime"]
    monkeypatch.setitem(installed.PEERS, "abacus", PeerKind("no_such_module", no_peer))
    with pytest.raises(UserInputError, match="'abacus' is not installed"):
        choose_peers("abacus")
    with pytest.raises(UserInputError, match="'sliderule' is unknown"):
        choose_peers("sliderule")


def no_peer(_task: Task) -> Any:
    raise PeerError("not today\nnor tomorrow")


class Constant:
    """A peer whose output is always the same."""

    def __init__(self, value: float) -> None:
        self.value = value

    def run(self) -> None:
        pass

    def outputs(self) -> list[np.ndarray]:
        return [np.full((2, 3), self.value, np.float32)]


def test_wrong_and_failing_peers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"good": lambda _: Constant(1.0), "bad": lambda _: Constant(2.0), "none": no_peer}
    for name, load in kinds.items():
        monkeypatch.setitem(measure.PEERS, name, PeerKind("json", load))
    task = Task(Path("model.onnx"), {}, ("y",), 1)
    # A peer may drop the batch axis.
    expected = [np.ones((1, 2, 3), np.float32)]
    peers, failed = measure.load_peers(list(kinds), task, expected)
    assert list(peers) == ["good"]
    assert failed == {"bad": "its result is wrong (by 1.0e+00)", "none": "not today"}


def test_a_cached_bundle_goes_with_the_sources(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("AUTOGLM_TVM_CACHE", str(tmp_path))
    compiled: list[Path] = []
    monkeypatch.setattr(bundles, "compile_case", lambda *args: compiled.append(args[2]))
    case = all_cases()["transpose"]
    first = bundles.cached_bundle(case, 1)
    assert bundles.cached_bundle(case, 1) == first
    monkeypatch.setattr(bundles, "sources_digest", lambda: "changed")
    second = bundles.cached_bundle(case, 1)
    assert second != first
    assert len(compiled) == 2
    assert not first.parent.exists()
    assert second.parent.exists()


def test_the_digest_covers_schedules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for room in ("artifacts", "compiler", "schedules", "targets"):
        (tmp_path / room).mkdir()
    (tmp_path / "schedules" / "rule.py").write_text("TILE = 8\n", encoding="utf-8")
    monkeypatch.setattr(bundles, "ROOT", tmp_path)
    before = bundles.sources_digest()
    assert bundles.sources_digest() == before
    (tmp_path / "schedules" / "rule.py").write_text("TILE = 6\n", encoding="utf-8")
    assert bundles.sources_digest() != before


@pytest.mark.slow
def test_a_real_run(tmp_path: Path) -> None:
    record = tmp_path / "bench.json"
    arguments = ["--profile", "attention", "--threads", "1", "--quick", "--peers", "none"]
    done = subprocess.run(
        [*COMMAND, *arguments, "--json", str(record), "--keep-bundles", str(tmp_path / "kept")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(record.read_text("utf-8"))["latency"]["rows"]
    assert row["right"]
    assert row["milliseconds"]["ours"] > 0
    assert row["multiply_adds"] == 2 * 12 * 128 * 128 * 64
    kernels = row["profile"]["ours"]
    assert sum(kernel["calls"] for kernel in kernels) == row["kernel_calls"]
    assert sum(kernel["multiply_adds"] for kernel in kernels) == row["multiply_adds"]
    assert (tmp_path / "kept" / "attention-1" / "manifest.json").is_file()
    assert "GFLOP/s" in done.stdout
