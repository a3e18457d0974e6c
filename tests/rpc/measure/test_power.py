"""Energy from batteries and counters, and why there is none."""

from __future__ import annotations

import pytest

from autoglm_tvm.rpc.measure.power import EnergyMeter, PowerReading, read_power
from tests.rpc.measure.fakes import battery_files

RAPL = "/sys/class/powercap"


@pytest.mark.parametrize("current", [1_500_000, -1_500_000, 1500, -1500])
@pytest.mark.parametrize("voltage", [4_000_000, 4000])
def test_a_discharging_battery_whatever_the_sign_and_the_unit(current: int, voltage: int) -> None:
    found = read_power(battery_files(current, voltage))
    assert found.watts == pytest.approx(6.0)
    assert found.source == "battery 'battery', current x voltage"


@pytest.mark.parametrize("status", ["Charging", "Full", "Not charging", "", "Unknown"])
def test_a_battery_that_is_not_discharging_says_nothing(status: str) -> None:
    found = read_power(battery_files(-500_000, 4_000_000, status))
    assert found.watts is None
    assert f"status: {status or 'unknown'}" in found.reason


def test_no_power_is_exposed() -> None:
    assert read_power({}).reason == "not exposed"
    usb = {"/sys/class/power_supply/usb/type": "USB\n"}
    assert read_power(usb).reason == "not exposed"
    broken = battery_files(1, 1)
    del broken["/sys/class/power_supply/battery/current_now"]
    assert read_power(broken).reason == "not exposed"


def test_androids_own_battery_counts_once() -> None:
    files = battery_files(9, 9, name="aaa") | battery_files(2_000_000, 4_000_000)
    assert read_power(files).watts == pytest.approx(8.0)


def test_only_whole_packages_are_added_up() -> None:
    files = {
        f"{RAPL}/intel-rapl:0/energy_uj": "2000000\n",
        f"{RAPL}/intel-rapl:1/energy_uj": "1000000\n",
        f"{RAPL}/intel-rapl:0:0/energy_uj": "500000\n",
        **battery_files(1_000_000, 4_000_000),
    }
    found = read_power(files)
    assert found.joules == pytest.approx(3.0)
    assert found.source == "RAPL intel-rapl:0, intel-rapl:1"


def test_power_is_integrated_by_trapezoids() -> None:
    meter = EnergyMeter()
    for at, watts, runs in ((0.0, 2.0, 0), (1.0, 4.0, 10), (3.0, 2.0, 20)):
        meter.add(at, PowerReading("battery", watts, None), runs)
    found = meter.result()
    assert found.joules == pytest.approx(3 + 6)
    assert found.watts == pytest.approx(3)
    assert found.joules_per_run == pytest.approx(9 / 30)
    assert found.to_json()["reason"] == ""


def test_a_counter_that_starts_anew_costs_only_its_interval() -> None:
    meter = EnergyMeter()
    shown = [
        meter.add(at, PowerReading("r", None, j), 1) for at, j in ((0, 5), (1, 9), (2, 1), (3, 2))
    ]
    assert shown == [None, 4, None, 1]
    found = meter.result()
    assert (found.joules, found.seconds, found.runs) == (5, 2, 2)


def test_a_charger_that_was_plugged_in_spoils_all_of_it() -> None:
    meter = EnergyMeter()
    meter.add(0, PowerReading("b", 1.0, None), 0)
    meter.add(1, PowerReading(reason="the battery is not discharging"), 1)
    meter.add(2, PowerReading("b", 1.0, None), 1)
    found = meter.result()
    assert found.joules is None
    assert found.to_json()["reason"] == "the battery is not discharging"


def test_too_short() -> None:
    meter = EnergyMeter()
    assert meter.result().reason == "not exposed"
    meter.add(0, PowerReading("b", 1.0, None), 0)
    assert meter.result().reason == "too short to be measured"
