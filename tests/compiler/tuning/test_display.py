"""The live table and the plain lines: what is shown, what is cut, and how often."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from autoglm_tvm.compiler.tuning.display import (
    LINE_SECONDS,
    LINE_TRIALS,
    REFRESH_SECONDS,
    TuningDisplay,
    plain_line,
)
from autoglm_tvm.compiler.tuning.live_view import view_lines
from tests.compiler.tuning.sample_states import (
    SAMPLES,
    all_failed,
    crowded,
    make_state,
    make_task,
    no_tasks,
    untried,
    usual,
)

_CONTROL = re.compile(r"[^\n -~]")


class Clock:
    """Seconds that only pass when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Takes what a terminal would, and says that it is one."""

    def isatty(self) -> bool:
        return True


def text_of(name: str, width: int, height: int = 24) -> list[str]:
    return [line.plain for line in view_lines(SAMPLES[name](), width, height)]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", [20, 40, 80, 109, 110, 140, 300])
@pytest.mark.parametrize("height", [2, 8, 24, 90])
def test_the_view_fits_the_terminal(name: str, width: int, height: int) -> None:
    lines = text_of(name, width, height)
    assert 1 <= len(lines) < height
    assert max(map(len, lines)) <= width


def test_a_task_says_its_share_times_gain_trials_and_failures() -> None:
    line = next(line for line in text_of("usual", 80) if "clip0" in line)
    assert line.split() == ["fused_conv2d_add_clip0", "22%", "900", "540", "-40%", "32", "8"]
    line = next(line for line in text_of("usual", 140) if "clip0" in line)
    assert line.endswith("5 crash, 2 wrong result, 1 time out")
    assert "no further gain expected" in "\n".join(text_of("usual", 140))


def test_the_totals_say_trials_time_left_where_it_went_and_the_gain() -> None:
    text = "\n".join(text_of("usual", 80))
    assert "trials   256 of 1000\n" in text
    assert "failed   8: 5 crash, 2 wrong result, 1 time out\n" in text
    # 744 trials at 256 in ten minutes, and two hours less ten minutes.
    assert "time     10 min 00 s, 29 min 04 s left at this rate, 1 h 50 min to the limit\n" in text
    assert "spent on search 10%, build 25%, measure 55%, other 10%\n" in text
    assert "gain     kernels' time -27% (estimate), 6 kernels faster" in text
    assert "device   pixel8 10.0.0.7:5555 busy, 41 C, 200 trials\n" in text


def test_of_many_tasks_the_most_important_are_shown_and_the_others_counted() -> None:
    lines = text_of("crowded", 80)
    shown = [line for line in lines if "reshape" in line]
    shares = [float(line.split()[1].rstrip("%")) for line in shown]
    assert len(shown) >= 5
    assert shares == sorted(shares, reverse=True)
    assert f"and {60 - len(shown)} more, " in "\n".join(lines)
    assert len([line for line in text_of("crowded", 80, 100) if "reshape" in line]) == 60
    assert "more, " not in "\n".join(text_of("crowded", 80, 100))


def test_names_are_cut_in_the_middle_so_that_they_still_differ() -> None:
    names = [line.split()[0] for line in text_of("crowded", 80, 100) if "reshape" in line]
    assert len(set(names)) == 60
    assert all(name.startswith("fused") and ".." in name for name in names)


def test_devices_in_trouble_and_the_note_are_shown() -> None:
    text = "\n".join(text_of("crowded", 140, 40))
    assert "pixel8 127.0.0.1:5002 quarantined, 44 C, 17 trials" in text
    assert "example.org:5003 lost, 0 trials" in text
    assert "127.0.0.1:5004 cooling, 72 C" in text
    assert "now      waiting for device pixel8" in text
    assert "lost 12 s ago" in text


def test_a_large_farm_takes_few_lines() -> None:
    state = crowded()
    state.devices = [*state.devices[1:], *([state.devices[0]] * 40)]
    text = "\n".join(line.plain for line in view_lines(state, 140, 40))
    assert "devices  43: 1 quarantined, 1 lost, 1 cooling, 40 busy" in text
    assert text.count("\ndevice ") == 3


def test_nothing_is_known_before_the_first_measurement() -> None:
    text = "\n".join(text_of("untried", 80))
    assert "gain     not known before the untuned kernels are measured" in text
    assert "left at this rate" not in text
    assert text.count(" -        - ") == 3
    assert "spent on -" in text


def test_defaults_that_are_kept_show_no_gain() -> None:
    text = "\n".join(text_of("all_failed", 140))
    assert "kernels' time 0% (estimate), 0 kernels faster" in text
    assert "12 crash, 4 build; 16 trials failed in a row" in text
    assert "to the limit" not in text


@pytest.mark.parametrize("name", SAMPLES)
def test_a_plain_line_is_one_line_of_printable_text(name: str) -> None:
    state = SAMPLES[name]()
    state.note = "\x1b[31mred\r\nand\tmore\x07"
    line = plain_line(state)
    assert not _CONTROL.search(line)
    assert "\n" not in line
    assert line.startswith("mobilenet_v2: ")
    assert "[31mred and more" in line


def test_a_plain_line_holds_the_numbers() -> None:
    line = plain_line(usual())
    assert "trials 256 of 1000; failed 8: 5 crash, 2 wrong result, 1 time out" in line
    assert "kernels' time -27% (estimate)" in line
    assert "quarantined" not in line
    assert "quarantined" in plain_line(all_failed())
    assert "trials 2370 of 5000, 128 of them earlier" in plain_line(crowded())


def test_no_terminal_gets_plain_lines_even_with_colours_forced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    file = io.StringIO()
    with TuningDisplay(Console(file=file)) as display:
        display.update(usual())
    assert file.getvalue() == plain_line(usual()) + "\n"


def test_plain_lines_come_by_trials_or_time() -> None:
    file, clock = io.StringIO(), Clock()
    task = make_task(0, trials=0)
    state = make_state([task])
    with TuningDisplay(Console(file=file), clock=clock) as display:

        def lines_after(trials: int, seconds: float) -> int:
            task.trials += trials
            clock.now += seconds
            display.update(state)
            return file.getvalue().count("\n")

        assert lines_after(0, 0.0) == 1
        assert lines_after(LINE_TRIALS - 1, 0.1) == 1
        assert lines_after(1, 0.1) == 2
        assert lines_after(1, 0.1) == 2
        assert lines_after(1, LINE_SECONDS) == 3
        assert lines_after(1, 0.1) == 3
    # What was not shown yet is shown at the end.
    assert file.getvalue().splitlines()[-1] == plain_line(state)
    assert file.getvalue().count("\n") == 4


def test_a_terminal_gets_a_table_at_most_four_times_a_second() -> None:
    file, clock = Terminal(), Clock()
    console = Console(file=file, force_terminal=True, width=100, height=30)
    with TuningDisplay(console, clock=clock) as display:
        display.update(untried())
        first = file.getvalue()
        assert "tuning mobilenet_v2" in first
        clock.now += 0.9 * REFRESH_SECONDS
        for _ in range(100):
            display.update(usual())
        assert file.getvalue() == first
        clock.now += 0.2 * REFRESH_SECONDS
        display.update(usual())
        assert "900" in file.getvalue()[len(first) :]
        display.update(all_failed())
    assert "no device is left" in file.getvalue()
    assert file.getvalue().endswith("\x1b[?25h")


def test_an_error_shows_the_last_state_and_gives_the_terminal_back() -> None:
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=100, height=30)

    def tune() -> None:
        with TuningDisplay(console, clock=Clock()) as display:
            display.update(untried())
            display.update(all_failed())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune()
    assert "no device is left" in file.getvalue()
    # The cursor is visible again.
    assert file.getvalue().endswith("\x1b[?25h")


def test_a_name_with_brackets_is_no_markup() -> None:
    state = make_state([make_task(0, kernel="fused[bold]_add[/]")])
    file = Terminal()
    console = Console(file=file, force_terminal=True, width=100, height=30, color_system=None)
    with TuningDisplay(console) as display:
        display.update(state)
    assert "fused[bold]_add[/]" in file.getvalue()


def test_a_display_without_an_update_shows_nothing() -> None:
    file = io.StringIO()
    with TuningDisplay(Console(file=file)):
        pass
    assert not file.getvalue()
    with TuningDisplay(Console(file=file)) as display:
        display.update(no_tasks())
    assert "trials 0" in file.getvalue()


def test_earlier_trials_count_and_do_not_make_the_rate_look_high() -> None:
    state = make_state([make_task(0, trials=150)], max_trials=200, resumed_trials=50)
    # 100 trials in ten minutes, and 50 to go.
    assert "5 min 00 s left at this rate" in plain_line(state)
    assert "trials 150 of 200, 50 of them earlier" in plain_line(state)
