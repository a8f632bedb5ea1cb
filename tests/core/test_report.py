from __future__ import annotations

import base64
import os
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import colormaps, rcParams
from scipy.io import wavfile

from sciml.report import CYCLE, SIGNED, Report, format_number, new_figure, plot_style

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Collects tags, references and texts, and fails where an end tag does not match its start tag."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.sources, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.sources += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())


def a_figure():
    with plot_style():
        figure, axes = new_figure(1, 2, width=3.0, height=1.5)
        axes[0, 0].plot([0, 1], [1, 0])
        axes[0, 1].imshow(np.eye(4))
    return figure


def full_report():
    report = Report("Rooms & <waves>", "Better than **nothing**.")
    report.facts({"error (%)": 1.2345, "time <s>": None})
    report.text("One `a < b`.\n\nA list:\n- first,\n  continued\n- **second** <script>alert(1)</script>")
    report.section("Results", "Text.")
    report.table(["name", "error (%)"], [["<i>a</i>", 0.5], ["b", None]], "Errors & more", highlight={1})
    report.figure("traces", a_figure(), "Traces at a < b.", alt='the "traces"')
    report.audio("dry", 0.5 * np.sin(np.arange(800)), 8000, "Dry.")
    return report


def embedded(page, kind):
    return [base64.b64decode(s.partition(",")[2]) for s in page.sources if s.startswith(f"data:{kind};base64,")]


def test_page_is_well_formed_and_refers_to_nothing_outside(tmp_path):
    path = full_report().write(tmp_path / "run", footer={"version": "0.1.0"})
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert path == tmp_path / "run" / "report.html"
    assert len(page.sources) == 2
    assert all(source.startswith("data:") for source in page.sources)
    assert not any(mark in text for mark in ("http://", "https://", "url(", "@import", "{title}"))
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_every_text_is_escaped_but_code_bold_and_bullets(tmp_path):
    page = Page(full_report().write(tmp_path, footer={"note": "<b>x</b>"}).read_text(encoding="utf-8"))
    for text in ("Rooms & <waves>", "time <s>", "a < b", "<i>a</i>", "Errors & more", "<b>x</b>", "Traces at a < b."):
        assert text in page.texts, text
    assert "first, continued" in page.texts
    assert "<script>alert(1)</script>" in page.texts
    assert [tag for tag, _ in page.tags].count("li") == 2
    assert {"nothing", "second"} <= set(page.texts)
    assert next(attrs for tag, attrs in page.tags if tag == "img")["alt"] == 'the "traces"'


def test_written_plots_and_sounds_are_the_embedded_bytes(tmp_path):
    page = Page(full_report().write(tmp_path).read_text(encoding="utf-8"))
    png = (tmp_path / "plots" / "traces.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert embedded(page, "image/png") == [png]
    assert embedded(page, "audio/wav") == [(tmp_path / "audio" / "dry.wav").read_bytes()]
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["dry.wav", "report.html", "traces.png"]


def test_same_figure_gives_the_same_bytes(tmp_path):
    pages = [full_report().write(tmp_path / name).read_bytes() for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_six_decibels_between_two_clips_stay_six(tmp_path):
    report = Report("Levels")
    loud = 0.8 * np.sin(0.05 * np.arange(4000))
    report.audio("loud", loud, 16000, "")
    report.audio("soft", loud / 2, 16000, "")
    report.write(tmp_path)
    read = [wavfile.read(tmp_path / "audio" / f"{name}.wav") for name in ("loud", "soft")]
    assert [rate for rate, _ in read] == [16000, 16000]
    levels = [np.sqrt(np.mean((samples / 32767.0) ** 2)) for _, samples in read]
    assert 20 * np.log10(levels[0] / levels[1]) == pytest.approx(20 * np.log10(2), abs=1e-3)
    np.testing.assert_allclose(read[0][1] / 32767.0, loud, atol=0.5001 / 32767)


@pytest.mark.parametrize("samples", [[0.0, 1.01], [np.nan, 0.0], [[0.1, 0.2]], []])
def test_samples_that_would_clip_or_are_no_clip_are_refused(samples):
    with pytest.raises(
        ValueError, match=r"^audio 'x': expected samples \(time,\) in \[-1, 1\], got shape .*; give all"
    ):
        Report("Clips").audio("x", np.array(samples), 8000, "")


@pytest.mark.parametrize("name", ["", "A", "../x", "a b", "a.b", "x\n", "twice"])
def test_bad_and_repeated_names_are_refused(name):
    report = Report("Names")
    report.figure("twice", a_figure(), "")
    expected = r"^report: expected a name of a-z, 0-9, _ and - that is new, got 'plots/.*\.png'; choose another$"
    with pytest.raises(ValueError, match=expected):
        report.figure(name, a_figure(), "")


@pytest.mark.parametrize(("rows", "highlight"), [([[1, 2], [3]], None), ([[1, 2]], 1), ([[1, 2]], {0, -1})])
def test_ragged_tables_and_marks_beyond_them_are_refused(rows, highlight):
    with pytest.raises(ValueError, match=r"^table: expected 2 cells a row, marks < \d, got .*; add None$"):
        Report("Tables").table(["a", "b"], rows, highlight=highlight)


def test_failed_write_leaves_the_old_report_and_no_scraps(tmp_path, monkeypatch):
    Report("Old").write(tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    replace = os.replace

    def full_disk(source, target):
        if str(target).endswith("report.html"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        full_report().write(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert not [path for path in tmp_path.rglob("*") if path.name.endswith(".tmp")]


def test_numeric_columns_are_right_aligned_and_marked_rows_marked(tmp_path):
    page = Page(full_report().write(tmp_path).read_text(encoding="utf-8"))
    cells = [attrs.get("class") for tag, attrs in page.tags if tag in ("td", "th")]
    assert cells == [None, "n"] * 3
    assert [attrs.get("class") for tag, attrs in page.tags if tag == "tr"] == [None, None, "mark"]
    assert "—" in page.texts


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (12.0, "12"),
        (-0.5, "−0.5"),
        (999.96, "1000"),
        (1234.56, "1235"),
        (12345.6, "12\u202f346"),
        (1234567, "1\u202f234\u202f567"),
        (1.23456e-5, "1.23×10⁻⁵"),
        (-6.02e23, "−6.02×10²³"),
        (0.0, "0"),
        (float("nan"), "NaN"),
        (float("-inf"), "−∞"),
        (np.float32(0.25), "0.25"),
        (np.int64(7), "7"),
        (np.bool_(True), "yes"),
    ],
)
def test_numbers_have_four_digits_at_most(value, text):
    assert format_number(value) == text


def test_plot_style_leaves_the_callers_settings_alone(monkeypatch):
    monkeypatch.setitem(rcParams, "lines.linewidth", 3.25)
    before = rcParams.copy()
    with plot_style():
        assert [entry["color"] for entry in rcParams["axes.prop_cycle"]] == list(CYCLE)
        assert rcParams["lines.linewidth"] == 1.8
    assert rcParams.copy() == before


def test_new_figure_has_a_grid_of_axes_and_constrained_layout():
    figure, axes = new_figure(2, 3, width=5, height=4, sharex=True)
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == (5, 4)
    assert figure.get_layout_engine().__class__.__name__ == "ConstrainedLayoutEngine"


def test_signed_map_is_symmetric_in_luminance():
    rgb = colormaps[SIGNED](np.linspace(0, 1, 257))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lightness = 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16
    np.testing.assert_allclose(lightness, lightness[::-1], atol=1.0)
    assert (np.diff(lightness[:128]) > 0).all()
