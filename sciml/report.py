"""The report of a run: a self-contained HTML page with one look for all plugins, its plots and sounds also as files."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib import style
from matplotlib.figure import Figure
from scipy.io import wavfile

from sciml.artifact import atomic_file

# Signed fields: the ends of "coolwarm" are equally dark (CIELAB lightness differs by 1; "RdBu_r" 5, "PuOr" 24) and far
# apart for every kind of colour blindness; its grey zero is told from the white of missing data.
SIGNED, MAGNITUDE = "coolwarm", "viridis"
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")  # Okabe and Ito
Rows = Sequence[Sequence[Any]]
Marks = int | Collection[int] | None
STYLE: list[Any] = [Path(__file__).with_name("report.mplstyle"), {"axes.prop_cycle": cycler(color=CYCLE)}]


class Report:
    """An ordered list of blocks under a title and a summary that becomes `report.html`.

    Texts are escaped but for `code` and **bold**.
    """

    def __init__(self, title: str, summary: str = "") -> None:
        self.title, self.summary = title, summary
        self._blocks, self._files = list[str](), dict[str, bytes]()

    def section(self, heading: str, text: str = "") -> None:
        """Begin a section."""
        self._blocks.append(f"<h2>{_inline(heading)}</h2>{_paragraphs(text)}")

    def text(self, markdown: str) -> None:
        """Add paragraphs, set apart by empty lines, and bullet lists of lines that begin with "- "."""
        self._blocks.append(_paragraphs(markdown))

    def facts(self, mapping: Mapping[str, Any]) -> None:
        """Add key numbers, label -> number or text, as a row of tiles."""
        tiles = (f"<div><dt>{_label(name)}</dt><dd>{_cell(value)}</dd></div>" for name, value in mapping.items())
        self._blocks.append(f'<dl class="facts">{"".join(tiles)}</dl>')

    def table(self, columns: Sequence[str], rows: Rows, caption: str = "", highlight: Marks = None) -> None:
        """Add a table of numbers and texts (None: a dash); `highlight` is the index of a row to stress, or a set."""
        marked = set(highlight) if isinstance(highlight, Collection) else {highlight} - {None}
        if any(len(row) != len(columns) for row in rows) or not marked <= set(range(len(rows))):
            got = f"{[len(row) for row in rows]} and {highlight}"
            raise ValueError(f"table: expected {len(columns)} cells a row, marks < {len(rows)}, got {got}; add None")
        text = [all(isinstance(row[i], str | bool | None) for row in rows) for i in range(len(columns))]
        head = _row("th", map(_label, columns), text)
        body = "\n".join(_row("td", map(_cell, row), text, i in marked) for i, row in enumerate(rows))
        table = f'<div class="scroll" tabindex="0"><table><thead>{head}</thead><tbody>\n{body}</tbody></table></div>'
        self._blocks.append(f"<figure><figcaption>{_inline(caption)}</figcaption>{table}</figure>")

    def figure(self, name: str, figure: Figure, caption: str, alt: str = "") -> None:
        """Add a matplotlib figure as it looks now; it is also written as ``plots/<name>.png``."""
        for axes in (axes for axes in figure.axes if axes.images):
            axes.grid(False)  # the house grid would lie above an image
        with plot_style():
            figure.savefig(buffer := io.BytesIO(), format="png", dpi=192, metadata={"Software": None})
        source = self._embed(f"plots/{name}.png", "image/png", buffer.getvalue())
        width = f"--width: {96 * figure.get_figwidth():.0f}px"
        image = f'<div class="scroll card"><img src="{source}" alt="{html.escape(alt or caption)}"></div>'
        self._blocks.append(f'<figure style="{width}">{image}<figcaption>{_inline(caption)}</figcaption></figure>')

    def audio(self, name: str, samples: np.ndarray, rate: int, caption: str) -> None:
        """Add a sound (time,) in [-1, 1] at its own level, 16 bit; it is also written as ``audio/<name>.wav``."""
        if np.ndim(samples) != 1 or not np.size(samples) or not np.abs(samples).max() <= 1:
            got = f"shape {np.shape(samples)} and peak {np.max(np.abs(samples), initial=0):.3g}"
            raise ValueError(f"audio {name!r}: expected samples (time,) in [-1, 1], got {got}; give all clips one gain")
        wavfile.write(buffer := io.BytesIO(), rate, np.round(32767 * np.asarray(samples)).astype(np.int16))
        player = f'<audio controls src="{self._embed(f"audio/{name}.wav", "audio/wav", buffer.getvalue())}"></audio>'
        self._blocks.append(f'<figure class="audio"><figcaption>{_inline(caption)}</figcaption>{player}</figure>')

    def write(self, folder: str | Path, footer: Mapping[str, str] | None = None) -> Path:
        """Write plots, sounds, then `report.html`, each whole or not at all; `footer` is small print by the title."""
        page, css = (Path(__file__).with_name(f"report.{kind}").read_text("utf-8") for kind in ("html", "css"))
        small = " ".join(f"<span>{_cell(name)} <b>{_cell(value)}</b></span>" for name, value in (footer or {}).items())
        texts = {"title": html.escape(self.title), "summary": _paragraphs(self.summary), "footer": small}
        page = page.format(**texts, css=css, blocks="\n".join(self._blocks))
        for path, content in {**self._files, "report.html": page.encode()}.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(Path(folder) / path) as temporary:
                temporary.write_bytes(content)
        return Path(folder) / "report.html"

    def _embed(self, path: str, kind: str, content: bytes) -> str:
        if not re.fullmatch(r"\w+/[a-z0-9_-]+\.\w+", path) or path in self._files:
            raise ValueError(f"report: expected a name of a-z, 0-9, _ and - that is new, got {path!r}; choose another")
        self._files[path] = content
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@contextmanager
def plot_style() -> Iterator[None]:
    """Use the house look, whatever the user's matplotlibrc says; draw inside it, so that new lines get it too."""
    with style.context(STYLE, after_reset=True):
        yield


def new_figure(
    n_rows: int = 1, n_cols: int = 1, width: float = 9.6, height: float = 4.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `width` x `height` inches and its axes (n_rows, n_cols); `options` go to `Figure.subplots`."""
    with plot_style():
        figure = Figure(figsize=(width, height))
        return figure, figure.subplots(n_rows, n_cols, squeeze=False, **options)


def format_number(value: Any) -> str:
    """Return a number with at most four significant digits: 0.1235, 12 346, 1.23×10⁻⁵; integers keep all digits."""
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or 1000 <= abs(value) < 1e6:
        text = f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.0f}"
    elif value == 0 or 1e-3 <= abs(value) < 1000 or not np.isfinite(value):
        text = f"{value:.4g}".replace("inf", "∞").replace("nan", "NaN")
    else:
        digits, power = f"{value:.2e}".split("e")
        text = f"{digits}×10{str(int(power)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return text.replace(",", "\u202f").replace("-", "−")


def _cell(value: Any) -> str:
    return "—" if value is None else html.escape(value if isinstance(value, str) else format_number(value))


def _row(tag: str, cells: Iterator[str], text: Sequence[bool], marked: bool = False) -> str:
    line = "".join(f"<{tag}{'' if left else ' class=n'}>{c}</{tag}>" for c, left in zip(cells, text, strict=True))
    return f"<tr{' class=mark' if marked else ''}>{line}</tr>"


def _label(text: str) -> str:
    return re.sub(r" ([(\[][^()\[\]]+[)\]])$", r' <span class="unit">\1</span>', html.escape(text))


def _inline(text: str) -> str:
    marks = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*")
    return marks.sub(lambda m: f"<code>{m[1]}</code>" if m[1] else f"<strong>{m[2]}</strong>", html.escape(text))


def _paragraphs(text: str) -> str:
    parts = []
    for block in re.split(r"\n\s*\n|\n(?=\s*[-*] )", text.strip()) if text.strip() else ():
        text = " ".join(block.split())
        parts += [f"<ul><li>{_inline(text[2:])}</li></ul>" if text[:2] in ("- ", "* ") else f"<p>{_inline(text)}</p>"]
    return "\n".join(parts).replace("</ul>\n<ul>", "\n")
