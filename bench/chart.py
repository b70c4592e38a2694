"""Bar charts in SVG: small files, drawn the same for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _NUMBERS, _ROW, _TOP, _FOOT = 900, 390, 110, 22, 44, 30
# Colours that can be told apart, also printed in grey, on a light ground and a dark one.
TONES: Final = {
    "ours": ("#2f6fdb", "Holdfast, synced"),
    "synced": ("#8a97a8", "others, synced"),
    "unsynced": ("#d9a441", "others, not synced"),
}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#333}.title{font-size:15px;font-weight:600}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: its label, its value, and its tone, one of TONES."""

    label: str
    value: float
    tone: str


def bars(title: str, given: Sequence[Bar], form: str) -> str:
    """A chart of horizontal bars from zero; `form` writes a value."""
    room = _WIDTH - _LABELS - _NUMBERS
    most = max((bar.value for bar in given), default=0) or 1
    height = _TOP + _ROW * len(given) + _FOOT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="10" y="24">{escape(title)}</text>',
    ]
    for index, bar in enumerate(given):
        y = _TOP + _ROW * index
        long = max(bar.value / most * room, 1)
        colour = TONES[bar.tone][0]
        middle = y + _ROW / 2 + 4
        parts += [
            f'<text x="{_LABELS - 8}" y="{middle:g}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{_LABELS}" y="{y + 3}" width="{long:.1f}" height="{_ROW - 6}" '
            f'fill="{colour}"/>',
            f'<text x="{_LABELS + long + 6:.1f}" y="{middle:g}">'
            f"{escape(form.format(bar.value))}</text>",
        ]
    x = _LABELS
    for tone, (colour, name) in TONES.items():
        if any(bar.tone == tone for bar in given):
            y = height - _FOOT + 8
            parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>')
            parts.append(f'<text x="{x + 18}" y="{y + 11}">{escape(name)}</text>')
            x += 150
    return "\n".join([*parts, "</svg>", ""])
