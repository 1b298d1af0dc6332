# SPDX-License-Identifier: Apache-2.0
"""A matplotlib figure becomes one ``<svg>`` element that takes colours and letters from the page.

Colours are drawn as place-holders, which then become CSS variables, so that one drawing is right in light
and in dark. Texts stay texts. Names inside a drawing get a prefix of their own: a page holds many drawings.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK: Final = "#0a0a01"
MUTED: Final = "#0a0a02"
GRID: Final = "#0a0a03"
SERIES: Final = ("#0a0a11", "#0a0a12", "#0a0a13", "#0a0a14", "#0a0a15", "#0a0a16")
_VARIABLES: Final = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    **{colour: f"var(--series-{i})" for i, colour in enumerate(SERIES, 1)},
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fedpeft",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "path.simplify": True,
    "text.parse_math": False,  # a name may hold dollar signs
}
_WIDTH_IN: Final = 4.2
_LABEL: Final = 28  # letters
_drawing = Lock()
"""matplotlib's style is a global of the process; a page may be asked for twice at once."""


def colour(index: int) -> str:
    """Of the series at ``index``; they repeat after six."""
    return SERIES[index % len(SERIES)]


def draw(
    name: str, paint: Callable[[Figure, Any], None], *, height: float = 2.5, rows: int = 1, columns: int = 1
) -> str:
    """Let ``paint`` fill a figure, and give it as one ``<svg>`` element.

    Args:
        name: unique on the page, of letters, digits and dashes.
        paint: gets the figure and its axes: one, or an array of them.
        height: in inches; the width is always the same, and the page scales both.
        rows: of axes.
        columns: of axes.
    """
    with _drawing, matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # letters are the browser's
        figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
        paint(figure, figure.subplots(rows, columns))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return _for_page(out.getvalue(), name)


def short(text: str) -> str:
    """A label that leaves room for the drawing; the table behind it has the whole."""
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 3]}..."


def quiet_axes(axes: Axes) -> None:
    """Without a frame and without marks, for a map of cells."""
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _for_page(svg: str, name: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    used = set(re.findall(r'(?:"#|url\(#)([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    svg = re.sub(r'( id="|"#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    svg = re.sub(r"(\d\.\d{2})\d+", r"\1", svg)
    for place_holder, variable in _VARIABLES.items():
        svg = svg.replace(place_holder, variable)
    # It has a text beside it for those who do not see it, and scales with the page.
    return re.sub(r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', _head, svg, count=1, flags=re.S)


def _head(match: re.Match[str]) -> str:
    return (
        f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{match[1]}" aria-hidden="true" '
        'focusable="false" role="presentation">'
    )
