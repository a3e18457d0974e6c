"""This machine's files, read as a device's are."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm_tvm.rpc.measure.device_files import GROUPS, number, read_here
from tests.rpc.measure.fakes import battery_files, cpu_files, thermal_files, write_tree


def test_a_tree_reads_back_as_it_was_written(tmp_path: Path) -> None:
    cpu, power = cpu_files([300, 1024], [1800, 2800]), battery_files(1, 2)
    thermal = thermal_files(("cpu-0", 41000))
    root = write_tree(tmp_path, cpu, thermal, power, {"/etc/passwd": "secret"})
    assert read_here("cpu", root) == cpu
    assert read_here("thermal", root) == thermal
    assert read_here("power", root) == power
    assert read_here("memory", root) == {}


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    files = thermal_files(("cpu-0", 41000))
    root = write_tree(tmp_path, files)
    # A folder, as root reads every file.
    (root / "sys/class/thermal/thermal_zone1/temp").mkdir(parents=True)
    assert read_here("thermal", root) == files


@pytest.mark.parametrize("group", GROUPS)
def test_this_machine_can_be_read(group: str) -> None:
    assert all(path.startswith("/") for path in read_here(group))


def test_the_device_server_reads_the_same_files() -> None:
    source = Path(__file__).parents[3] / "rpc" / "native" / "device_files.cc"
    text = source.read_text("utf-8")
    for patterns in GROUPS.values():
        for pattern in patterns:
            # The server's patterns may be wider.
            wider = pattern.replace("thread_siblings_list", "*siblings_list")
            assert f'"/{pattern}"' in text or f'"/{wider}"' in text


@pytest.mark.parametrize(("text", "value"), [("12\n", 12), ("-3", -3), ("x", None), ("", None)])
def test_numbers(text: str, value: int | None) -> None:
    assert number({"p": text}, "p") == value
    assert number({}, "p") is None
