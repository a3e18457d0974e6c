"""The page and the picture: whole, self-contained, and with the numbers in them."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path

import pytest

from autoglm_tvm.rpc.measure.pictures import write_html, write_png
from autoglm_tvm.rpc.measure.pictures.charts import BarChart, LineChart, charts_of, shortened
from autoglm_tvm.rpc.measure.pictures.facts import milliseconds
from autoglm_tvm.rpc.measure.pictures.html import html_of
from autoglm_tvm.rpc.measure.pictures.svg import draw
from autoglm_tvm.rpc.measure.pictures.ticks import labels, ticks
from autoglm_tvm.rpc.measure.statistics import Sample, summarize
from autoglm_tvm.targets.errors import MissingToolError
from tests.rpc.measure.results import phone_result


@pytest.mark.parametrize(
    ("low", "high", "about", "expected"),
    [
        (0, 10, 5, ["0", "2", "4", "6", "8", "10"]),
        (0.031, 0.0352, 5, ["0.031", "0.032", "0.033", "0.034", "0.035"]),
        (-0.3, 0.3, 3, ["-0.2", "0.0", "0.2"]),
        (12, 1200, 5, ["200", "400", "600", "800", "1000", "1200"]),
        (5, 5, 5, ["5"]),
    ],
)
def test_ticks_are_round(low: float, high: float, about: int, expected: list[str]) -> None:
    assert labels(ticks(low, high, about)) == expected


def test_interrupted_runs_are_named_even_where_there_are_no_others() -> None:
    samples = (Sample(0.001, True),) * 9
    result = replace(phone_result(), samples=samples, latency=summarize(samples))
    runs, *_ = charts_of(result)
    assert ">interrupted</text>" in draw(runs)
    clean = tuple(replace(sample, interrupted=False) for sample in samples)
    runs, *_ = charts_of(replace(result, samples=clean, latency=summarize(clean)))
    assert ">runs</text>" not in draw(runs)


def test_names_are_cut_in_their_middle() -> None:
    assert shortened("fused_conv2d_add_clip12", 23) == "fused_conv2d_add_clip12"
    assert shortened("fused_conv2d_add_clip12", 13) == "fused_co…ip12"
    assert shortened("abc", 1) == "…"


def test_every_chart_that_there_are_numbers_for() -> None:
    titles = [chart.title for chart in charts_of(phone_result())]
    assert len(titles) == 7
    assert titles[2:] == [
        "Latency under load",
        "CPU temperature under load",
        "Frequency of the cores under load",
        "Power under load",
        "Time of each kernel in a run",
    ]
    bare = replace(phone_result(), sustained=None, profile=None)
    assert len(charts_of(bare)) == 2


def test_the_charts_hold_the_numbers() -> None:
    result = phone_result(kernels=30)
    runs, distribution, *_, bars = charts_of(result)
    assert isinstance(runs, LineChart)
    assert [len(series.points) for series in runs.series] == [
        result.latency.count,
        result.latency.interrupted,
    ]
    assert [mark.value for mark in runs.marks] == pytest.approx(
        [result.latency.p50 * 1e3, result.latency.p90 * 1e3]
    )
    assert isinstance(distribution, LineChart)
    below_p99 = sum(y for _, y in distribution.series[0].points)
    assert below_p99 == pytest.approx(0.99 * result.latency.count, abs=2)
    assert isinstance(bars, BarChart)
    assert result.profile is not None
    assert bars.bars[-1].label == "14 more kernels"
    assert sum(bar.value for bar in bars.bars) == pytest.approx(result.profile.kernel_seconds * 1e3)


@pytest.mark.parametrize("count", [1, 2, 50])
def test_charts_of_equal_and_of_few_samples_can_be_drawn(count: int, tmp_path: Path) -> None:
    samples = (Sample(0.001),) * count
    result = replace(phone_result(1, 0.1), samples=samples, latency=summarize(samples))
    for chart in charts_of(result):
        ElementTree.fromstring(draw(chart))
    write_png(result, tmp_path / "few.png")


def test_nothing_lies_outside_of_a_chart() -> None:
    for chart in charts_of(phone_result()):
        svg = ElementTree.fromstring(draw(chart))
        _, _, width, height = (float(word) for word in svg.attrib["viewBox"].split())
        for element in svg.iter():
            for key, most in (("x", width), ("cx", width), ("y", height), ("cy", height)):
                assert 0 <= float(element.attrib.get(key, 0)) <= most, element.attrib


def test_the_page_needs_nothing_else_and_has_the_numbers(tmp_path: Path) -> None:
    result = phone_result()
    write_html(result, tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text("utf-8")
    for outside in ("http", "<script", "src=", "href=", "@import", "url("):
        assert outside not in text
    assert text.count("<svg") == text.count("</svg>") == 7
    assert result.profile is not None
    assert result.sustained is not None
    for number in (
        milliseconds(result.latency.p50),
        milliseconds(result.latency.p99),
        f"{result.latency.interrupted} interrupted",
        "cpu-1-7 (thermal_zone1) 39.8 → 78.9 °C",
        "130 s, from 52.0 to 39.8 °C",
        "governor schedutil, up to 2800 MHz",
        "43.0 MiB at most, 32.0 of it by the bundle",
        "57.7 mJ a run, 4.41 W",
        f"{result.sustained.slowdown:.2f} times",
        f"{result.profile.kernels[-1].share:.1%}",
    ):
        assert number in text, number
    # What the device calls itself is text and not markup.
    assert "Tensor &lt;G3&gt;" in text
    assert "a note with &lt;b&gt; in it" in text


def test_the_page_of_a_machine_that_tells_nothing() -> None:
    result = replace(
        phone_result(), zones_before=(), zones_after=(), sustained=None, profile=None, gate=None
    )
    text = html_of(result)
    assert re.search(r"<th>temperature</th><td>not exposed</td>", text)
    assert "Kernels" not in text


def test_the_picture(tmp_path: Path) -> None:
    write_png(phone_result(), tmp_path / "r.png")
    data = (tmp_path / "r.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = (int.from_bytes(data[at : at + 4], "big") for at in (16, 20))
    assert (width, height) == (1140, pytest.approx(2650, abs=400))


def test_a_picture_without_matplotlib(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingToolError, match="matplotlib") as caught:
        write_png(phone_result(), tmp_path / "r.png")
    assert "--html" in caught.value.hint


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.000032, "0.0320 ms"), (0.0012345, "1.234 ms"), (0.0123456, "12.35 ms"), (1.5, "1500.0 ms")],
)
def test_times_are_written_with_the_digits_that_matter(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
