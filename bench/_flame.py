"""Folded stacks (a;b;c 12) as a small flame graph: what is wide takes long; callers are below."""

import zlib
from collections.abc import Iterable, Sequence
from typing import Final
from xml.sax.saxutils import escape

_WIDTH: Final = 860
_ROW: Final = 15
_TOP: Final = 44
_LEAST: Final = 0.006  # of the whole; what is narrower is left out
_LETTER: Final = 6.2  # of a monospaced letter at this size
_WARM: Final = ("#f2c14e", "#f0a95a", "#ec8f5e", "#e5765f", "#f4d27a", "#e9b872")


class Frame:
    """A function as called from one stack below it, with all samples in it and above. Guards its callees."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.samples = 0
        self.above: dict[str, Frame] = {}

    def add(self, stack: Sequence[str], samples: int) -> None:
        self.samples += samples
        if stack:
            self.above.setdefault(stack[0], Frame(stack[0])).add(stack[1:], samples)


def read(lines: Iterable[str]) -> Frame:
    """The tree of `a;b;c 12` lines."""
    root = Frame("all")
    for line in lines:
        stack, _, samples = line.rstrip().rpartition(" ")
        if stack:
            root.add(stack.split(";"), int(samples))
    return root


def draw(root: Frame, title: str) -> str:
    """The picture, callers at the bottom."""
    boxes: list[tuple[int, float, float, str]] = []  # row, from, width (shares), name
    _lay(root, (0, 0.0), root.samples, boxes)
    rows = max((row for row, *_ in boxes), default=0) + 1
    height = _TOP + rows * _ROW + 8
    parts = [_box(box, height) for box in boxes]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'font-family="ui-monospace, Menlo, \'DejaVu Sans Mono\', monospace" font-size="10">'
    )
    heading = f'<text x="10" y="24" font-size="14" font-family="sans-serif" font-weight="bold">{escape(title)}</text>'
    return "\n".join([head, f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>', heading, *parts, "</svg>", ""])


def widest(root: Frame, many: int) -> list[tuple[str, float]]:
    """The functions that most samples were in themselves, and their shares."""
    own: dict[str, int] = {}
    waiting = [root]
    for frame in waiting:
        rest = frame.samples - sum(above.samples for above in frame.above.values())
        own[frame.name] = own.get(frame.name, 0) + rest
        waiting += frame.above.values()
    ranked = sorted(own.items(), key=lambda each: -each[1])[:many]
    return [(name, samples / max(root.samples, 1)) for name, samples in ranked]


def _lay(frame: Frame, at: tuple[int, float], whole: int, boxes: list[tuple[int, float, float, str]]) -> None:
    row, start = at
    width = frame.samples / max(whole, 1)
    if width < _LEAST:
        return
    boxes.append((row, start, width, frame.name))
    for name in sorted(frame.above):
        above = frame.above[name]
        _lay(above, (row + 1, start), whole, boxes)
        start += above.samples / max(whole, 1)


def _box(box: tuple[int, float, float, str], height: int) -> str:
    row, start, share, name = box
    x, width, y = start * _WIDTH, share * _WIDTH, height - 8 - (row + 1) * _ROW
    colour = _WARM[zlib.crc32(name.encode()) % len(_WARM)]
    room = int((width - 4) / _LETTER)
    shown = name if len(name) <= room else name[: room - 1] + "…"
    words = f'<text x="{x + 2:.1f}" y="{y + 11}">{escape(shown)}</text>' if room >= 3 else ""
    told = f"<title>{escape(name)} {share:.1%}</title>"
    return (
        f'<g>{told}<rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}" height="{_ROW - 1}" '
        f'fill="{colour}"/>{words}</g>'
    )
