"""`records show`, `merge`, `prune` and `export`: what they tell, as text and as JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from autoglm_tvm.schedules.records import RecordStore, read_records
from tests.cli.command_line import MODULE, fails, run, snapshot, succeeds
from tests.schedules.records.samples import (
    DENSE,
    PC,
    PHONE,
    configs,
    failed,
    trial,
    write_lines,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = RecordStore(tmp_path / "records")
    store.append([trial(1, 0.5), trial(2, 0.9), failed(3), failed(4, "time_out")])
    store.append([trial(5, 0.8, target=PC, workload=DENSE, device="[lab] EPYC"), failed(6)])
    store.append([trial(7, tvm="0.26.0")])
    return store.folder


def test_show(folder: Path) -> None:
    before = snapshot(folder)
    text = succeeds("records", "show", folder).stdout
    for part in (
        PHONE.text,
        PC.text,
        "conv2d float32 1x56x56x64",
        "2.00x",
        "2 crash, 1 time_out",
        "Snapdragon 855",
        "[lab] EPYC",
        "2026-11-20",
        "1 more of other versions; --all shows them",
    ):
        assert part in text
    assert "0.26.0" not in text
    assert "(TVM 0.26.0, schedule space 1)" in succeeds("records", "show", folder, "--all").stdout
    assert snapshot(folder) == before


def test_show_json(folder: Path) -> None:
    found = succeeds("records", "show", folder, "--json").json
    assert [row["workload"].split()[0] for row in found["rows"]] == ["conv2d", "matmul"]
    assert found["rows"][0]["ratio"] == 0.5
    assert found["rows"][0]["failures"] == {"crash": 2, "time_out": 1}
    assert found["hidden"] == 1
    assert found["notes"] == []


def test_show_chosen_rows(folder: Path) -> None:
    def rows(*options: str) -> list[str]:
        found = succeeds("records", "show", folder, "--json", *options).json["rows"]
        return [row["config"]["tile"] for row in found]

    assert rows("--workload", "matmul") == [5]
    assert rows("--target", "android-arm64-v8.2") == [1]
    assert rows("-t", "znver5") == [5]
    assert rows("--all") == [7, 1, 5]
    assert "no records fit" in succeeds("records", "show", folder, "--workload", "nothing").stdout


def test_show_tells_of_broken_lines(folder: Path) -> None:
    with (folder / PHONE.file_name).open("a") as file:
        file.write("broken\n" * 8)
    outcome = succeeds("records", "show", folder)
    assert outcome.stderr.count("left out: it is no whole line of JSON") == 5
    assert "note: 3 more lines; --json has them all" in outcome.stderr
    assert len(succeeds("records", "show", folder, "--json").json["notes"]) == 8


def test_merge(folder: Path, tmp_path: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", trial(1, 0.5), trial(8), trial(3))
    text = succeeds("records", "merge", folder, other, "--into", tmp_path / "all").stdout
    assert f"{folder}: 7 records, 7 added, 0 with better evidence, 0 known" in text
    assert f"{other}: 3 records, 1 added, 1 with better evidence, 1 known" in text
    assert f"{tmp_path / 'all'} holds 8 records" in text
    again = succeeds("records", "merge", other, "--into", tmp_path / "all", "--json").json
    assert (again["added"], again["improved"], again["total"]) == (0, 0, 8)
    fails(2, "records", "merge", tmp_path / "none", "--into", folder, says="none", changes=tmp_path)
    fails(2, "records", "merge", folder, says="--into", changes=tmp_path)


def test_prune(folder: Path) -> None:
    text = succeeds("records", "prune", folder, "--keep", 1).stdout
    assert "3 records kept, 4 dropped" in text
    assert configs(read_records(folder)) == [1, 5, 7]
    found = succeeds("records", "prune", folder, "--this-version", "--json").json
    assert (found["kept"], found["dropped"]) == (2, 1)
    fails(2, "records", "prune", folder, "--keep", 0, says="--keep", changes=folder)
    fails(2, "records", "prune", folder / "none", says="no such record folder", changes=folder)


def test_export(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "best.jsonl"
    outcome = succeeds("records", "export", folder, "--output", output)
    assert f"{output}: 2 records, " in outcome.stdout
    assert f"for {PHONE.text}" in outcome.stdout
    assert "1 records of TVM 0.26.0" in outcome.stderr
    assert configs(read_records(output)) == [1, 5]
    found = succeeds("records", "export", folder, "-o", output, "-t", "znver5", "--json").json
    assert (found["records"], found["targets"]) == (1, [PC.text])
    fails(2, "records", "export", folder, "-o", output, "-t", "moon", says="moon", changes=tmp_path)
    fails(2, "records", "export", folder, "-o", folder, says=".jsonl", changes=tmp_path)


def test_without_a_command_it_says_what_is_missing() -> None:
    outcome = run("records")
    assert outcome.code == 2
    assert "Missing command" in outcome.stderr
    assert "records --help" in outcome.stderr
    text = succeeds("records", "--help").stdout
    for name in ("show", "merge", "prune", "export"):
        assert name in text


def test_no_command_loads_tvm_unless_a_preset_is_asked_for(folder: Path, tmp_path: Path) -> None:
    for arguments in (
        ["show", folder],
        ["merge", folder, "--into", tmp_path / "all"],
        ["export", folder, "-o", tmp_path / "best.jsonl", "-t", "cortex"],
        ["prune", folder],
    ):
        command = [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            MODULE,
            "records",
            *map(str, arguments),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "autoglm_tvm.schedules.records" in imported
        assert not imported & {"tvm", "tvm_ffi", "onnx", "numpy"}
