"""Charts as inline SVG: no script, no font, no file beside the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, PAD = 420, 280, 46
BLUE, ORANGE, GREY = "#1f5fa8", "#d9822b", "#b8bec6"

Point = Sequence[float]


def _frame(body: str, title: str, x_label: str, y_label: str, height: int = HEIGHT) -> str:
    middle = height / 2
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f'<text x="{PAD}" y="18" class="t">{escape(title)}</text>{body}'
        f'<text x="{WIDTH / 2}" y="{height - 8}" class="l" text-anchor="middle">'
        f"{escape(x_label)}</text>"
        f'<text x="12" y="{middle}" class="l" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle})">{escape(y_label)}</text></svg>'
    )


def _axes(x: tuple[float, float], y: tuple[float, float]) -> str:
    left, right, top, bottom = PAD, WIDTH - 14, 28, HEIGHT - PAD
    lines = [f'<path d="M{left} {top}V{bottom}H{right}" class="a"/>']
    for step in range(5):
        share = step / 4
        at_x, at_y = left + share * (right - left), bottom - share * (bottom - top)
        lines += [
            (
                f'<text x="{at_x:.1f}" y="{bottom + 14}" class="n" text-anchor="middle">'
                f"{x[0] + share * (x[1] - x[0]):.3g}</text>"
            ),
            (
                f'<text x="{left - 5}" y="{at_y + 3:.1f}" class="n" text-anchor="end">'
                f"{y[0] + share * (y[1] - y[0]):.3g}</text>"
            ),
        ]
    return "".join(lines)


def _place(point: Point, x: tuple[float, float], y: tuple[float, float]) -> tuple[float, float]:
    left, right, top, bottom = PAD, WIDTH - 14, 28, HEIGHT - PAD
    across = (point[0] - x[0]) / ((x[1] - x[0]) or 1.0)
    up = (point[1] - y[0]) / ((y[1] - y[0]) or 1.0)
    return left + across * (right - left), bottom - up * (bottom - top)


def line(
    title: str, points: Sequence[Point], x_label: str, y_label: str, *, diagonal: bool = False,
    dots: bool = False,
) -> str:  # fmt: skip
    """A line over the unit square."""
    unit = (0.0, 1.0)
    places = [_place(point, unit, unit) for point in points]
    path = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    body = _axes(unit, unit)
    if diagonal:
        (a, b), (c, d) = _place((0, 0), unit, unit), _place((1, 1), unit, unit)
        body += f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" class="d"/>'
    body += f'<polyline points="{path}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    if dots:
        body += "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{BLUE}"/>'
                        for a, b in places)  # fmt: skip
    return _frame(body, title, x_label, y_label)


def histogram(title: str, edges: Sequence[float], counts: Sequence[int], x_label: str) -> str:
    """Bars over equal bins."""
    top = max(1, *counts)
    x, y = (edges[0], edges[-1]), (0.0, float(top))
    body = _axes(x, y)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        left, up = _place((low, count), x, y)
        right, down = _place((high, 0.0), x, y)
        body += (f'<rect x="{left:.1f}" y="{up:.1f}" width="{max(1.0, right - left - 1):.1f}" '
                 f'height="{down - up:.1f}" fill="{BLUE}"/>')  # fmt: skip
    return _frame(body, title, x_label, "rows")


def bars(title: str, items: Sequence[tuple[str, float]], label: str) -> str:
    """Horizontal bars with names, the largest first as given."""
    row, left, right = 20, 190, WIDTH - 60
    height = 40 + row * len(items) + 24
    most = max((abs(value) for _, value in items), default=1.0) or 1.0
    body = ""
    for place, (name, value) in enumerate(items):
        y = 32 + place * row
        width = abs(value) / most * (right - left)
        colour = BLUE if value >= 0 else ORANGE
        short = name if len(name) <= 30 else name[:29] + "…"
        body += (
            f'<text x="{left - 6}" y="{y + 12}" class="n" text-anchor="end">'
            f"<title>{escape(name)}</title>{escape(short)}</text>"
            f'<rect x="{left}" y="{y + 2}" width="{max(1.0, width):.1f}" height="13" '
            f'fill="{colour}"/>'
            f'<text x="{left + width + 5:.1f}" y="{y + 12}" class="n">{value:.3g}</text>'
        )
    return _frame(body, title, label, "", height)


def interval(
    title: str, items: Sequence[tuple[str, float, float, float]], lines_at: Sequence[float]
) -> str:
    """Points with their intervals on one scale, with lines to compare with.

    Args:
        title: of the chart.
        items: (name, low, value, high), top to bottom.
        lines_at: where vertical lines stand.
    """
    row, left, right = 24, 190, WIDTH - 20
    height = 40 + row * len(items) + 40
    low = min([*(i[1] for i in items), *lines_at], default=0.0)
    high = max([*(i[3] for i in items), *lines_at], default=1.0)
    span = (high - low) or 1.0

    def x(value: float) -> float:
        return left + (value - low) / span * (right - left)

    bottom = 32 + row * len(items)
    body = "".join(
        f'<line x1="{x(v):.1f}" y1="28" x2="{x(v):.1f}" y2="{bottom}" class="d"/>'
        f'<text x="{x(v):.1f}" y="{bottom + 14}" class="n" text-anchor="middle">{v:g}</text>'
        for v in lines_at
    )
    for place, (name, start, value, end) in enumerate(items):
        y = 32 + place * row + 10
        short = name if len(name) <= 30 else name[:29] + "…"
        body += (
            f'<text x="{left - 6}" y="{y + 4}" class="n" text-anchor="end">'
            f"<title>{escape(name)}</title>{escape(short)}</text>"
            f'<line x1="{x(start):.1f}" y1="{y}" x2="{x(end):.1f}" y2="{y}" stroke="{BLUE}" '
            f'stroke-width="2"/><circle cx="{x(value):.1f}" cy="{y}" r="4" fill="{BLUE}"/>'
        )
    return _frame(body, title, "", "", height)
