"""A forest plot as SVG, written by hand: the same bytes whatever drawing library there is."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_ROW, _PANEL, _GAP, _TOP, _CHARACTER = 20, 130, 16, 44, 6.6  # pixels
_FONT = 'font-family="sans-serif" font-size="11"'
_INK, _FAINT, _AXIS = "#1f6f8b", "#d5dbe1", "#c0392b"


def forest(variants: Mapping[str, Mapping[str, Any]], tasks: Sequence[str]) -> str:
    """A panel for each task, a row for each variant: its difference from the base in points, with the interval."""
    left = int(max(map(len, variants)) * _CHARACTER) + 20
    width, height = left + len(tasks) * (_PANEL + _GAP), _TOP + len(variants) * _ROW + 28
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {_FONT}>',
        "<title>Difference from the base in points, 95 % intervals</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *(_text(left - 8, _y(i) + 4, name, "end") for i, name in enumerate(variants)),
    ]
    for i, task in enumerate(tasks):
        rows = [variant["tasks"].get(task) for variant in variants.values()]
        parts += _panel(left + i * (_PANEL + _GAP), task, rows, height)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(x: float, task: str, rows: Sequence[Mapping[str, Any] | None], height: int) -> list[str]:
    ends = [100 * end for row in rows if row for end in (row["difference"], *row["ci95"])]
    low, high = min(0.0, *ends), max(0.0, *ends)
    scale = (_PANEL - 20) / (high - low or 1)

    def at(points: float) -> float:
        return x + 10 + (points - low) * scale

    parts = [
        _text(x + _PANEL / 2, 16, task, "middle"),
        f'<rect x="{x:.1f}" y="24" width="{_PANEL}" height="{height - 44}" fill="none" stroke="{_FAINT}"/>',
        _line(at(0), at(0), 24, height - 20, _AXIS),
        *(_text(at(end), height - 6, f"{end:+.0f}", "middle") for end in sorted({low, high}) if round(end)),
        *([_text(at(0), height - 6, "0", "middle")] if min(at(0) - at(low), at(high) - at(0)) > 24 else []),
    ]
    for i, row in enumerate(rows):
        if row:
            middle, (first, last) = at(100 * row["difference"]), (at(100 * end) for end in row["ci95"])
            parts.append(_line(first, last, _y(i), _y(i), _INK))
            parts.append(f'<circle cx="{middle:.1f}" cy="{_y(i)}" r="3.5" fill="{_INK}"/>')
    return parts


def _y(row: int) -> int:
    return _TOP + row * _ROW


def _line(x1: float, x2: float, y1: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y1}" y2="{y2}" stroke="{colour}" stroke-width="1.5"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
