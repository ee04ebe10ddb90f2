"""Small charts as SVG, written by hand: no library, no font to fetch, readable on light and dark pages."""

import math
from collections.abc import Mapping, Sequence
from typing import Final
from xml.sax.saxutils import escape

import msgspec

_FONT: Final = "ui-sans-serif, system-ui, 'DejaVu Sans', sans-serif"
COLOURS: Final = ("#3b6fb6", "#c8702a", "#3d8f5f", "#8a5aa8", "#a8434a", "#6b6b6b")
_WIDTH: Final = 860
_INK: Final = "#333"
_PALE: Final = "#bbb"


class _Look(msgspec.Struct, frozen=True):
    """How words are written."""

    size: int = 12
    weight: str = "normal"
    colour: str = _INK


_PLAIN: Final = _Look()
_TITLE: Final = _Look(15, "bold")
_NOTE: Final = _Look(11, "normal", "#666")


class Bar(msgspec.Struct, frozen=True):
    """One row of a bar chart: a value, and marks on its scale that it is held against."""

    label: str
    value: float
    said: str  # beside the bar
    colour: str = COLOURS[0]
    marks: Sequence[float] = ()


def bars(title: str, rows: Sequence[Bar], note: str = "", most: float | None = None) -> str:
    """Rows of horizontal bars from 0 to `most`; what is longer is cut there."""
    left, height, top = 400, 26, 48
    whole = most or max([row.value for row in rows] + [mark for row in rows for mark in row.marks]) * 1.05
    scale = (_WIDTH - left - 110) / whole
    parts = [_text((12, 26), title, look=_TITLE)]
    for place, row in enumerate(rows):
        y = top + place * height
        length = min(row.value, whole) * scale
        parts += [
            _text((left - 8, y + 15), row.label, "end"),
            f'<rect x="{left}" y="{y + 3}" width="{length:.1f}" height="{height - 9}" fill="{row.colour}"/>',
            *(_mark(left + mark * scale, y, height) for mark in row.marks),
            _text((left + max(length, max((0, *row.marks)) * scale) + 8, y + 15), row.said),
        ]
    bottom = top + len(rows) * height
    if note:
        parts.append(_text((12, bottom + 20), note, look=_NOTE))
    return _drawing(bottom + (34 if note else 12), parts)


def lines(
    title: str, axes: tuple[str, str], series: Mapping[str, Sequence[tuple[float, float]]], note: str = ""
) -> str:
    """Lines on two logarithmic axes; every point above zero."""
    left, top, width, height = 70, 48, _WIDTH - 300, 300
    xs = [x for points in series.values() for x, _ in points]
    ys = [y for points in series.values() for _, y in points]
    across, up = _decades(xs), _decades(ys)
    parts = [_text((12, 26), title, look=_TITLE)]

    def at(x: float, y: float) -> tuple[float, float]:
        return left + _along(x, across) * width, top + (1 - _along(y, up)) * height

    for power in range(across[0], across[1] + 1):
        x, _ = at(10**power, 10 ** up[0])
        parts += [
            _line((x, top), (x, top + height), _PALE),
            _text((x, top + height + 18), _number(10.0**power), "middle"),
        ]
    for power in range(up[0], up[1] + 1):
        _, y = at(10 ** across[0], 10**power)
        parts += [_line((left, y), (left + width, y), _PALE), _text((left - 8, y + 4), _number(10.0**power), "end")]
    parts += [
        _text((left + width / 2, top + height + 38), axes[0], "middle"),
        _text((left, top - 8), axes[1]),
    ]
    for place, (name, points) in enumerate(series.items()):
        colour, path = COLOURS[place % len(COLOURS)], " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*p) for p in points))
        y = top + 14 + place * 20
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<rect x="{left + width + 16}" y="{y - 9}" width="12" height="12" fill="{colour}"/>',
            _text((left + width + 34, y + 1), name),
        ]
    if note:
        parts.append(_text((12, top + height + 62), note, look=_NOTE))
    return _drawing(top + height + (76 if note else 50), parts)


def _decades(values: Sequence[float]) -> tuple[int, int]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def _along(value: float, decades: tuple[int, int]) -> float:
    return (math.log10(value) - decades[0]) / (decades[1] - decades[0])


def _number(value: float) -> str:
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:g}{letter}"
    return f"{value:g}"


def _mark(x: float, y: float, height: int) -> str:
    return _line((x, y), (x, y + height - 3), _INK, 2)


def _line(start: tuple[float, float], end: tuple[float, float], colour: str, width: int = 1) -> str:
    return (
        f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _text(at: tuple[float, float], words: str, anchor: str = "start", look: _Look = _PLAIN) -> str:
    return (
        f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" font-size="{look.size}" font-weight="{look.weight}" '
        f'text-anchor="{anchor}" fill="{look.colour}">{escape(words)}</text>'
    )


def _drawing(height: float, parts: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" '
        f'height="{height:.0f}" font-family="{_FONT}">'
    )
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>', *parts, "</svg>", ""])
