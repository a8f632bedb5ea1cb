from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from sciml.progress import Progress, duration


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_lines_tell_percent_elapsed_and_left_at_most_every_five_seconds(clock):
    stream = io.StringIO()
    with Progress(stream, clock=clock).track(60, "train") as update:
        for second in range(1, 31):
            clock.now += 1
            update(2 * second, f"loss {second}")
    assert stream.getvalue().splitlines() == [
        "train: 7 % (2 s, 28 s left) loss 2",
        "train: 23 % (7 s, 23 s left) loss 7",
        "train: 40 % (12 s, 18 s left) loss 12",
        "train: 57 % (17 s, 13 s left) loss 17",
        "train: 73 % (22 s, 8 s left) loss 22",
        "train: 90 % (27 s, 3 s left) loss 27",
        "train: done (30 s)",
    ]


def test_resumed_work_estimates_from_its_own_rate(clock):
    stream = io.StringIO()
    with Progress(stream, clock=clock).track(100, "train", start=90) as update:
        clock.now += 10
        update(92)
    assert stream.getvalue().splitlines()[0] == "train: 92 % (10 s, 40 s left)"


def test_work_within_two_seconds_is_silent(clock):
    stream = io.StringIO()
    with Progress(stream, clock=clock).track(3, "mesh") as update:
        for done in (1, 2, 3):
            clock.now += 0.6
            update(done)
    assert stream.getvalue() == ""


def test_empty_work_and_work_without_updates_end_well(clock):
    stream = io.StringIO()
    with Progress(stream, clock=clock).track(0, "sweep") as update:
        clock.now += 3
        update(0)
    assert stream.getvalue().splitlines() == ["sweep: (3 s)", "sweep: done (3 s)"]


def test_disabled_progress_is_silent_even_on_a_terminal():
    stream = Terminal()
    with Progress(stream, enabled=False).track(1, "train") as update:
        update(1, note="loss 0.1")
    assert stream.getvalue() == ""


def test_exception_passes_without_a_closing_line(clock):
    stream = io.StringIO()

    def work() -> None:
        with Progress(stream, clock=clock).track(1, "train"):
            clock.now += 60
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert stream.getvalue() == ""


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt])
def test_terminal_gets_its_cursor_back_when_nested_work_fails(failure, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    progress = Progress(stream)

    def work() -> None:
        with progress.track(2, "ensemble"), progress.track(5, "[member]") as update:
            update(3, "loss [0.1]")
            raise failure

    with pytest.raises(failure):
        work()
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert stream.getvalue().count(hide) == stream.getvalue().count(show) == 1
    assert stream.getvalue().rindex(show) > stream.getvalue().rindex("member")
    with progress.track(1, "again") as update:
        update(1)
    assert "again" in stream.getvalue()


def test_terminal_shows_description_percent_rate_and_note(clock, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    with Progress(stream, clock=clock).track(50, "train [a]") as update:
        clock.now += 4
        update(10, "loss [0.1]")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert all(part in text for part in ("train [a]", "20%", "2.5/s", "left", "loss [0.1]"))


def test_dumb_terminal_gets_lines(clock, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stream = Terminal()
    with Progress(stream, clock=clock).track(2, "train") as update:
        clock.now += 5
        update(1)
    assert stream.getvalue() == "train: 50 % (5 s, 5 s left)\ntrain: done (5 s)\n"


def test_negative_or_undefined_total_is_refused():
    expected = r"^train: expected total >= start >= 0, got nan and 0; "
    with pytest.raises(ValueError, match=expected), Progress().track(float("nan"), "train"):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (185, "3 min 05 s"), (3600, "1 h 00 min"), (7859, "2 h 10 min")],
)
def test_duration_has_at_most_two_units(seconds, text):
    assert duration(seconds) == text


def test_rich_is_imported_for_terminals_only():
    code = (
        "import io, sys\nfrom sciml.progress import Progress\n"
        "with Progress(io.StringIO()).track(1, 'x') as update: update(1)\n"
        "assert not {'rich', 'torch', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
