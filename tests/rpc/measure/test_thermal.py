"""Which zone is the CPU's, how hot it is, and the wait until it has cooled."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from autoglm_tvm.rpc.measure.device_files import Files
from autoglm_tvm.rpc.measure.thermal import TemperatureGate, cpu_zones, hottest_cpu_zone, read_zones
from autoglm_tvm.targets.errors import CheckFailedError, MissingToolError
from tests.rpc.measure.fakes import Clock, thermal_files


@pytest.mark.parametrize(
    ("temp", "celsius"),
    [
        (45123, 45.123),
        (45, 45.0),
        (451, 45.1),
        (1500, 1.5),
        ("garbage", None),
        ("", None),
        (0, None),
        (-40000, None),
        (-274000, None),
        (150000, None),
    ],
)
def test_what_a_zone_says(temp: int | str, celsius: float | None) -> None:
    zones = read_zones(thermal_files(("cpu", temp)))
    assert [zone.celsius for zone in zones] == ([] if celsius is None else [celsius])


def test_zones_come_in_the_order_of_their_numbers() -> None:
    zones = read_zones(thermal_files(*(("cpu", 30000 + i) for i in range(12))))
    assert [zone.name for zone in zones] == [f"thermal_zone{i}" for i in range(12)]
    assert zones[0].label == "cpu (thermal_zone0)"


@pytest.mark.parametrize(
    ("types", "chosen"),
    [
        (["battery", "cpu-0-0", "cpu-1-3-usr", "gpuss-0", "xo-therm"], ["cpu-0-0", "cpu-1-3-usr"]),
        (["BIG", "MID", "LITTLE", "G3D", "battery"], ["BIG", "MID", "LITTLE"]),
        (["mtktsbattery", "mtktscpu", "mtktsAP"], ["mtktscpu"]),
        (["cpu-thermal"], ["cpu-thermal"]),
        (["acpitz", "x86_pkg_temp"], ["x86_pkg_temp"]),
        (["soc_thermal", "gpu_thermal"], ["soc_thermal"]),
        (["tsens_tz_sensor1", "battery", "pm8998_tz"], ["tsens_tz_sensor1"]),
        (["acpitz", "iwlwifi_1", "battery"], ["acpitz", "iwlwifi_1"]),
        (["battery"], ["battery"]),
        ([], []),
    ],
)
def test_the_cpus_zones_of_known_vendors(types: list[str], chosen: list[str]) -> None:
    zones = read_zones(thermal_files(*((kind, 40000) for kind in types)))
    assert [zone.type for zone in cpu_zones(zones)] == chosen


def test_the_hottest_one_counts() -> None:
    files = thermal_files(("cpu-0", 41000), ("cpu-1", 52500), ("gpu", 90000))
    zone = hottest_cpu_zone(files)
    assert zone is not None
    assert (zone.type, zone.celsius) == ("cpu-1", 52.5)
    assert hottest_cpu_zone({}) is None


def _cooling(clock: Clock, start: float, per_minute: float) -> Callable[[], Files]:
    began = clock.now
    return lambda: thermal_files(
        ("cpu-0", round(1000 * (start - per_minute * (clock.now - began) / 60)))
    )


def test_the_gate_opens_when_the_device_is_cool() -> None:
    clock, told = Clock(), list[str]()
    gate = TemperatureGate(45, 600, clock, clock.sleep)
    result = gate.wait(_cooling(clock, 60, 5), "phone", told.append)
    assert result.waited_s == pytest.approx(180, abs=5)
    assert result.before.celsius == 60
    assert 44 < result.after.celsius <= 45
    assert told[0] == "waiting for cpu-0 (thermal_zone0) to cool from 60.0 to 45 °C"
    assert len(told) == 36


def test_a_cool_device_is_not_waited_for() -> None:
    clock = Clock()
    result = TemperatureGate(45, 0, clock, clock.sleep).wait(_cooling(clock, 45, 0), "phone")
    assert result.waited_s == 0
    assert result.to_json()["after"]["celsius"] == 45


def test_the_gate_gives_up_and_names_zone_and_temperature() -> None:
    clock = Clock()
    start = clock.now
    gate = TemperatureGate(45, 120, clock, clock.sleep)
    with pytest.raises(CheckFailedError) as caught:
        gate.wait(_cooling(clock, 70, 2), "device 'pixel8'")
    assert clock.now - start == pytest.approx(120)
    assert caught.value.what == (
        "thermal zone cpu-0 (thermal_zone0) is at 66.0 °C after 2.0 min of waiting, above the "
        "limit of 45 °C (70.0 °C at first)"
    )
    assert caught.value.where == "device 'pixel8'"
    assert "--cool-timeout" in caught.value.hint


def test_no_zone_no_limit() -> None:
    clock = Clock()
    with pytest.raises(MissingToolError, match="no thermal zone") as caught:
        TemperatureGate(45, 120, clock, clock.sleep).wait(dict, "phone")
    assert "--max-temperature none" in caught.value.hint
