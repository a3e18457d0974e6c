"""The report as text, JSON, HTML and picture."""

from __future__ import annotations

import io
import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib
from autoglm_tvm.compiler.tuning.charts import MOST_BARS, convergence_chart, time_chart
from autoglm_tvm.compiler.tuning.drawing import Box, Dot, Drawing, Label, Line, to_svg
from autoglm_tvm.compiler.tuning.report import TuningReport
from autoglm_tvm.compiler.tuning.report_html import (
    report_html,
    report_picture,
    write_report_html,
    write_report_png,
)
from autoglm_tvm.compiler.tuning.report_text import print_report, report_lines
from autoglm_tvm.targets.errors import MissingToolError, UserInputError
from tests.compiler.tuning.sample_reports import make_report
from tests.compiler.tuning.sample_states import SAMPLES, crowded, make_state, make_task, usual


def unmeasured(name: str) -> TuningReport:
    note = "no kernel became faster"
    return make_report(name, end_to_end=None, end_to_end_note=note, kept=0, examples={})


def printed(report: TuningReport, width: int) -> str:
    file = io.StringIO()
    print_report(report, Console(file=file, width=width))
    return file.getvalue()


def labels(drawing: Drawing) -> list[str]:
    return [shape.text for shape in drawing.shapes if isinstance(shape, Label)]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", [80, 140])
def test_the_text_keeps_to_the_terminal(name: str, width: int) -> None:
    for report in (make_report(name), unmeasured(name)):
        lines = printed(report, width).splitlines()
        assert [line.rstrip() for line in report_lines(report, width)] == lines
        assert max(map(len, lines)) <= width


def test_the_text_says_what_was_gained_measured_and_summed() -> None:
    text = printed(make_report(), 200)
    assert (
        "model    12.34 ms untuned, 10.01 ms tuned, both measured: ratio 0.812 (quartiles 0.806 "
        "to 0.819), time -19%; 2 threads of pixel8 10.0.0.7:5555; 15 turns of each" in text
    )
    assert "kernels  time -27% in sum, an estimate" in text
    assert "ended    1000 trials are done" in text
    assert "records  records/mobilenet_v2: 6 records kept, all checked for right results" in text
    assert "example  of crash: the kernel's process died of SIGILL\n" in text
    assert "at 0x7f" not in text


def test_the_text_says_why_nothing_was_gained() -> None:
    text = printed(unmeasured("all_failed"), 140)
    assert "model    not measured: no kernel became faster" in text
    assert "none is faster than its default schedule" in text
    assert "no kernel was measured" in printed(unmeasured("untried"), 140)


def test_every_task_is_in_the_text() -> None:
    lines = report_lines(make_report("crowded"), 80)
    assert len([line for line in lines if line.startswith("fused")]) == 60


def test_the_json_is_what_was_measured(tmp_path: Path) -> None:
    report = make_report()
    report.write_json(tmp_path / "new" / "report.json")
    found = json.loads((tmp_path / "new" / "report.json").read_text("utf-8"))
    assert found == json.loads(json.dumps(report.to_json()))
    assert found["end_to_end"] == {
        "default_seconds": 0.01234,
        "tuned_seconds": 0.01001,
        "ratio": 0.8123,
        "quartiles": [0.8061, 0.8190],
        "threads": 2,
        "device": "pixel8 10.0.0.7:5555",
        "how": "15 turns of each, 3 s a side",
    }
    assert found["summed_ratio_estimate"] == pytest.approx(0.7316, abs=1e-4)
    assert found["trials"] == 256
    assert found["failures"] == {"crash": 5, "wrong_result": 2, "time_out": 1}
    assert set(found["failure_examples"]) == {"crash", "wrong_result"}
    assert found["kept_records"] == 6
    assert found["time_shares"] == pytest.approx(
        {"search": 0.1, "build": 0.25, "measure": 0.55, "other": 0.1}
    )
    assert found["devices"][0]["temperature_c"] == 41.2


def test_a_task_in_the_json_has_its_history_and_totals() -> None:
    tasks = make_report().to_json()["tasks"]
    assert len(tasks) == 8
    task = next(task for task in tasks if task["kernel"] == "fused_conv2d_add_clip2")
    assert task["calls"] == 3
    assert task["default_seconds"] == pytest.approx(300e-6)
    assert task["total_default_seconds"] == pytest.approx(900e-6)
    assert task["total_tuned_seconds"] == pytest.approx(630e-6)
    assert task["best_ratio"] == pytest.approx(0.7)
    assert [trial for trial, _ in task["history"]] == [1, 8, 16]
    assert task["done"] == "no further gain expected"
    assert sum(task["share"] for task in tasks) == pytest.approx(1.0)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_json_of_any_state_can_be_written(name: str) -> None:
    text = json.dumps(unmeasured(name).to_json(), allow_nan=False)
    assert json.loads(text)["end_to_end"] is None


@pytest.mark.parametrize("name", SAMPLES)
def test_the_page_is_well_formed_and_has_every_task(name: str) -> None:
    for report in (make_report(name), unmeasured(name)):
        page = report_html(report)
        tree = ElementTree.fromstring(page)
        kernels = [
            cell.text for cell in tree.iter("td") if cell.get("class", "").startswith("kernel")
        ]
        assert sorted(map(str, kernels)) == sorted(task.kernel for task in report.state.tasks)
        assert len(list(tree.iter("{http://www.w3.org/2000/svg}svg"))) == 2


def test_the_page_has_the_numbers_and_needs_nothing_else() -> None:
    page = report_html(make_report())
    text = "".join(ElementTree.fromstring(page).itertext())
    for number in ("-19%", "-27%", "12.34 ms", "10.01 ms", "0.812", "900", "540", "-40%"):
        assert number in text
    assert "the kernel's process died of SIGILL\nat 0x7f <main>" in text
    assert "an estimate" in text
    links = page.replace("http://www.w3.org/2000/svg", "")
    assert not any(part in links for part in ("http", "src=", "href=", "@import", "<script"))


def test_what_others_wrote_cannot_break_the_page() -> None:
    evil = "</svg><script>alert('&')</script>\x1b[0m\x00$model"
    task = make_task(0, kernel=evil, failures={"crash": 1})
    task.workload = task.done = evil
    state = make_state([task], model=evil, note=evil)
    report = make_report(state=state, stopped=evil, examples={"crash": evil})
    page = report_html(report)
    tree = ElementTree.fromstring(page)
    assert not list(tree.iter("script"))
    assert "$model" in "".join(tree.itertext())


def test_a_long_message_is_cut() -> None:
    page = report_html(make_report(examples={"crash": "x" * 100_000}))
    assert "x" * 1000 + " ..." in page
    assert len(page) < 60_000


def test_bars_are_as_long_as_the_times() -> None:
    chart = time_chart(usual())
    widths = [shape.width for shape in chart.shapes if isinstance(shape, Box)][2:]
    before, after = widths[0::2], widths[1::2]
    assert len(before) == len(after) == 8
    assert [b / a for a, b in zip(before, after, strict=True)][:3] == pytest.approx(
        [0.6, 0.65, 0.7]
    )
    assert before[0] == pytest.approx(2 * before[3])
    assert "0.900 to 0.540" in labels(chart)


def test_bars_of_unimportant_tasks_are_left_out_and_counted() -> None:
    found = labels(time_chart(crowded()))
    assert len([text for text in found if "reshape" in text]) == MOST_BARS
    assert "and 20 tasks more, 7.5% of the time" in found


def test_a_curve_falls_with_the_best_and_ends_at_what_was_kept() -> None:
    task = make_task(0, 100.0, 0.6, trials=40)
    chart = convergence_chart(make_state([task]))
    (curve,) = [s for s in chart.shapes if isinstance(s, Line) and len(s.points) > 2]
    xs, ys = zip(*curve.points, strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)
    # From 100 % at the start (the first trial was slower than the default) over 80 % to 60 %.
    assert len(set(ys)) == 3
    dot = next(s for s in chart.shapes[5:] if isinstance(s, Dot))
    assert (dot.x, dot.y) == pytest.approx(curve.points[-1])
    assert "-40%" in labels(chart)
    assert "100% of the time" in labels(chart)
    assert "40 trials" in labels(chart)


def test_a_best_that_a_comparison_refuted_leaves_the_curve_and_moves_the_dot() -> None:
    task = make_task(0, 100.0, 0.9, trials=40)
    task.history = [(5, 60e-6), (30, 85e-6)]
    chart = convergence_chart(make_state([task]))
    (curve,) = [s for s in chart.shapes if isinstance(s, Line) and len(s.points) > 2]
    ys = [y for _, y in curve.points]
    assert ys == sorted(ys)
    assert len(set(ys)) == 2
    dot = next(s for s in chart.shapes[5:] if isinstance(s, Dot))
    assert dot.y < ys[-1]


def test_a_task_that_nobody_tried_has_no_panel() -> None:
    found = labels(convergence_chart(make_state([make_task(0), make_task(1, trials=0)])))
    assert "fused_conv2d_add_clip0" in found
    assert "fused_conv2d_add_clip1" not in found
    assert "No task was tried." in labels(convergence_chart(SAMPLES["untried"]()))
    assert "No task was measured." in labels(time_chart(SAMPLES["no_tasks"]()))


@pytest.mark.parametrize("name", SAMPLES)
def test_everything_is_drawn_inside_of_the_picture(name: str) -> None:
    picture = report_picture(make_report(name))
    for shape in picture.shapes:
        points = shape.points if isinstance(shape, Line) else [(shape.x, shape.y)]
        assert all(0 <= x <= picture.width and 0 <= y <= picture.height for x, y in points)


def test_labels_of_one_line_do_not_overlap() -> None:
    """By the width that letters have in the fonts asked for."""
    for chart in (time_chart(crowded()), convergence_chart(crowded())):
        lines: dict[float, list[tuple[float, float, str]]] = {}
        for shape in chart.shapes:
            if isinstance(shape, Label):
                width = 0.62 * shape.size * len(shape.text)
                back = {"start": 0.0, "middle": width / 2, "end": width}[shape.anchor]
                lines.setdefault(shape.y, []).append((shape.x - back, width, shape.text))
        for on_line in lines.values():
            on_line.sort()
            for (x, width, text), (other, _, beside) in pairwise(on_line):
                assert x + width <= other, (text, beside)


def test_a_picture_escapes_its_texts() -> None:
    drawing = Drawing(10, 10, "a < b", [Label(0, 0, "<&>\x00", hover='"')])
    tree = ElementTree.fromstring(to_svg(drawing))
    assert "".join(tree.itertext()).split() == ["a", "<", "b", "<&>", '"']


def test_a_file_that_cannot_be_written_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    report = make_report()
    for write in (report.write_json, lambda path: write_report_html(report, path)):
        with pytest.raises(UserInputError, match="cannot write the report") as error:
            write(tmp_path / "file" / "report")
        assert "records are safe" in error.value.hint


def test_the_page_can_be_written(tmp_path: Path) -> None:
    write_report_html(make_report(), tmp_path / "deep" / "report.html")
    page = (tmp_path / "deep" / "report.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "µs" in page


def test_the_picture_is_a_png_of_twice_the_size(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    report = make_report()
    write_report_png(report, tmp_path / "new" / "report.png")
    content = (tmp_path / "new" / "report.png").read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    size = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    picture = report_picture(report)
    assert size == pytest.approx((2 * picture.width, 2 * picture.height), abs=1)
    with pytest.raises(UserInputError, match="cannot write the picture"):
        write_report_png(report, tmp_path / "new" / "report.png" / "below")


def test_without_matplotlib_the_picture_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingToolError, match="not installed") as error:
        require_matplotlib()
    assert "autoglm-tvm[bench]" in error.value.hint
    assert report_html(make_report())


def test_failures_without_an_example_are_listed_too() -> None:
    state = make_state([make_task(0, failures={"upload": 3})])
    report = make_report(state=state, examples={})
    assert report.state.failures == Counter({"upload": 3})
    page = report_html(report)
    assert "upload" in page
    assert "<p>None.</p>" in report_html(make_report(state=make_state([make_task(0)])))
