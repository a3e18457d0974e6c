"""Warm-up, sampling, sustained load and profile on a machine whose clock stands still."""

from __future__ import annotations

from dataclasses import replace

import pytest

from autoglm_tvm.artifacts.manifest import KernelEntry, Manifest, Memory
from autoglm_tvm.rpc.measure import sampling
from autoglm_tvm.rpc.measure.power import Energy
from autoglm_tvm.rpc.measure.profile import summarize_calls
from autoglm_tvm.rpc.measure.sampling import Monitor, take_samples, warm_up
from autoglm_tvm.rpc.measure.statistics import Sample
from autoglm_tvm.rpc.measure.sustained import Point, conclude, run_sustained
from tests.rpc.measure.fakes import (
    Clock,
    FakeSubject,
    battery_files,
    cpu_files,
    thermal_files,
)


def test_warm_up_ends_when_three_windows_agree() -> None:
    clock = Clock()
    # A tenth faster with every second, until four have passed.
    subject = FakeSubject(clock, lambda now: 0.010 + 0.001 * max(0.0, 104 - now))
    warm = warm_up(subject.run, 20, clock)
    assert warm.stable
    assert warm.medians[-3:] == pytest.approx([0.010] * 3, rel=0.03)
    assert warm.medians[0] > 0.0135
    assert warm.seconds == pytest.approx(5, abs=0.6)
    assert warm.runs == pytest.approx(sum(0.5 / median for median in warm.medians), rel=0.05)


def test_warm_up_gives_up_at_its_limit() -> None:
    clock = Clock()
    subject = FakeSubject(clock, lambda now: 0.01 * (now - 99))
    warm = warm_up(subject.run, 5, clock)
    assert not warm.stable
    assert 5 <= warm.seconds < 6
    assert warm.to_json()["stable"] is False
    assert warm_up(subject.run, 0, clock).runs == 0


def test_as_many_samples_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(sampling.time, "monotonic", clock)
    subject = FakeSubject(clock, lambda _: 0.125)
    told: list[int] = []
    monitor = Monitor(subject, [0], clock)
    samples = take_samples(subject, monitor, 20, 20, 1.0, 0.125, told.append)
    assert len(samples) == 20
    assert told == [8, 16, 20]
    assert len(monitor.readings) == 4


def test_as_many_samples_as_fit_but_not_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(sampling.time, "monotonic", clock)
    subject = FakeSubject(clock, lambda _: 0.5)
    monitor = Monitor(subject, [0], clock)
    assert len(take_samples(subject, monitor, 1000, 3, 4.0, 0.5)) == 8
    assert len(take_samples(subject, monitor, 1000, 12, 4.0, 0.5)) == 12


def test_a_call_to_a_device_is_long_enough_for_its_untimed_run() -> None:
    subject = FakeSubject(Clock(), lambda _: 1.0, untimed_runs=1)
    assert sampling.block_seconds(subject, 0.01) == 1
    assert sampling.block_seconds(subject, 0.5) == 5
    assert sampling.block_seconds(subject, 60) == 20
    subject.untimed_runs = 0
    assert sampling.block_seconds(subject, 0.5) == 1


def _hot_phone(clock: Clock, latency: float) -> FakeSubject:
    """A phone that is a quarter slower after a minute, warms up, and draws 3 W."""
    subject = FakeSubject(clock, lambda now: latency * (1.25 if now > 160 else 1))

    class Files(dict[str, dict[str, str]]):
        def get(self, group: str, default: object = None) -> dict[str, str]:  # type: ignore[override]
            hot = clock.now > 160
            return {
                "thermal": thermal_files(("cpu-0", 75000 if hot else 50000)),
                "cpu": cpu_files([1024, 1024], [1600 if hot else 2000] * 2),
                "power": battery_files(-750_000, 4_000_000),
            }[group]

    subject.files = Files()
    return subject


def test_throttling_is_seen() -> None:
    clock = Clock()
    subject = _hot_phone(clock, 0.02)
    found = run_sustained(subject, Monitor(subject, [0, 1], clock), 4, 0.02, clock=clock)
    assert found.throttled
    assert found.slowdown == pytest.approx(1.25)
    assert found.compared_s == 60
    assert found.hottest_c == 75
    assert found.points[0].mhz == 1000
    assert found.points[-1].mhz == 800
    assert found.energy.watts == pytest.approx(3)
    assert found.energy.joules_per_run == pytest.approx(3 * found.seconds / found.runs, rel=1e-6)
    assert found.seconds == pytest.approx(240, abs=2)
    json = found.to_json()
    assert json["last_p50_ms"] == pytest.approx(25)
    assert json["points"][0]["p50_ms"] == pytest.approx(20)


@pytest.mark.parametrize(
    ("first", "last", "throttled"),
    [
        (0.0, 0.05, True),
        (0.0, 0.15, False),
        (0.5, 0.5, False),
        (0.5, 0.95, False),
        # Long runs are always interrupted.
        (0.97, 1.0, True),
    ],
)
def test_other_programs_are_not_taken_for_heat(first: float, last: float, throttled: bool) -> None:
    points = [
        Point(float(second), 0.01 if second < 100 else 0.02, 0.02, 100, 0.0, None, None, None)
        for second in range(1, 181)
    ]
    points = [replace(p, interrupted=first if p.at <= 60 else last) for p in points]
    found = conclude(points, Energy())
    assert found.slower
    assert found.slowdown == 2
    assert (found.first_interrupted, found.last_interrupted) == pytest.approx((first, last))
    assert found.throttled == throttled


def test_a_device_that_holds_its_speed_and_shows_nothing() -> None:
    clock = Clock()
    subject = FakeSubject(clock, lambda _: 0.5)
    found = run_sustained(subject, Monitor(subject, [], clock), 0.01, 0.5, clock=clock)
    assert len(found.points) == 3
    assert not found.throttled
    assert found.hottest_c is None
    assert found.compared_s == pytest.approx(1)
    assert found.energy.reason == "not exposed"


def _manifest(*kernels: KernelEntry) -> Manifest:
    return Manifest("m", {}, {}, "l", (), (), (), Memory(0, None), kernels, {}, {}, "")


def test_calls_add_up_to_kernels_by_the_median_of_the_runs() -> None:
    conv = KernelEntry("conv", ("conv2d", "relu"), "a", "tile", "4x4")
    manifest = _manifest(conv, KernelEntry("add", ("add",), "b", "", "left"), conv)
    runs = [
        (Sample(10.0), [("conv", 2.0), ("alloc", 50.0), ("add", 1.0), ("conv", 3.0)]),
        (Sample(11.0), [("conv", 2.0), ("alloc", 50.0), ("add", 1.0), ("conv", 4.0)]),
        (Sample(90.0), [("conv", 40.0), ("alloc", 50.0), ("add", 1.0), ("conv", 40.0)]),
    ]
    found = summarize_calls(runs, manifest)
    first, second = found.kernels
    assert (first.function, first.calls, first.seconds) == ("conv", 2, 6.0)
    assert first.share == pytest.approx(6 / 7)
    assert first.operators == ("conv2d", "relu")
    assert first.schedule == "tile: 4x4"
    assert (second.function, second.schedule) == ("add", "unscheduled: left")
    assert (found.run_seconds, found.kernel_seconds, found.other_seconds) == (11.0, 7.0, 4.0)
    assert sum(kernel.share for kernel in found.kernels) == pytest.approx(1)
    assert found.to_json()["kernels"][0]["ms"] == 6000


def test_interrupted_runs_are_no_part_of_a_profile() -> None:
    manifest = _manifest(KernelEntry("a", (), "", "", ""))
    clean, hit = (Sample(2.0), [("a", 1.0)]), (Sample(9.0, True), [("a", 8.0)])
    found = summarize_calls([hit, clean, hit, clean, clean, hit, hit], manifest)
    assert (found.runs, found.run_seconds, found.kernel_seconds) == (3, 2.0, 1.0)
    assert summarize_calls([hit, clean, clean, hit, hit], manifest).kernel_seconds == 8.0


def test_a_kernel_that_only_some_runs_call() -> None:
    manifest = _manifest(KernelEntry("a", (), "", "", ""), KernelEntry("b", (), "", "", ""))
    run, both = Sample(2.0), [("a", 1.0), ("b", 1.0)]
    runs = [(run, [("a", 1.0)]), (run, both), (run, both)]
    assert [(k.function, k.calls, k.seconds) for k in summarize_calls(runs, manifest).kernels] == [
        ("a", 1, 1.0),
        ("b", 1, 1.0),
    ]
    assert summarize_calls([(Sample(1.0), [])], manifest).kernels == ()
