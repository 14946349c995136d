"""Charts with two axes: learning curves, predicted against actual, ROC, precision-recall, calibration."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from markupsafe import Markup

from headrace.pipelines.report.formats import count, plain, significant
from headrace.pipelines.report.scale import Scale
from headrace.pipelines.report.svg import coordinate, line_path, picture, tag

# Above this many points a scatter plot hides overlaps, and its elements make the page large.
_MOST_POINTS = 600
_LINE_HEIGHT = 16.0


@dataclass(frozen=True)
class Plot:
    """A plot area with two axes, in pixels of the picture's coordinates."""

    x: Scale
    y: Scale
    width: float
    height: float
    x_name: str
    y_name: str

    def frame(self, *, x_ticks: Sequence[tuple[float, str]] | None = None) -> list[Markup]:
        """Grid lines, ticks and axis titles; the title of the vertical axis is above it, and horizontal."""
        left, right, bottom, top = self.x.start, self.x.end, self.y.start, self.y.end
        parts = [tag("text", self.y_name, x=0, y=12, class_="axis-name")]
        for value, shown in self.y.ticks(5):
            place = self.y(value)
            parts.append(tag("line", x1=left, x2=right, y1=place, y2=place, class_="gridline"))
            parts.append(tag("text", shown, x=left - 8, y=place + 4, class_="tick", text_anchor="end"))
        for value, shown in x_ticks if x_ticks is not None else self.x.ticks(6):
            place = self.x(value)
            parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=bottom + 4, class_="axis"))
            parts.append(tag("text", shown, x=place, y=bottom + 18, class_="tick", text_anchor="middle"))
        parts.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
        parts.append(
            tag("text", self.x_name, x=(left + right) / 2, y=self.height - 2, class_="axis-name", text_anchor="middle")
        )
        parts.append(tag("line", x1=left, x2=left, y1=bottom, y2=top, class_="axis"))
        return parts

    def draw(self, parts: Sequence[str], *, title: str) -> Markup:
        """The picture of `parts`."""
        return picture(self.width, self.height, parts, title=title)


def learning_curves(
    loss: Sequence[float | None], eval_loss: Sequence[float | None], best_epoch: int | None
) -> Markup | None:
    """Loss by epoch on the train and the eval split, with the best epoch marked; None without a history."""
    lines = [("train", loss), ("eval", eval_loss)]
    points = {name: [(float(i), v) for i, v in enumerate(values, 1) if v is not None] for name, values in lines}
    values = [v for line in points.values() for _, v in line]
    if not values:
        return None
    epochs = max(len(loss), len(eval_loss))
    width, height, left, right, top, bottom = 600.0, 330.0, 52.0, 540.0, 28.0, 280.0
    y = Scale.over(values, bottom, top, may_be_logarithmic=True)
    x = Scale(1.0 if epochs > 1 else 0.0, float(max(epochs, 2)), left, right)
    plot = Plot(x, y, width, height, "Epoch", "Loss, logarithmic" if y.logarithmic else "Loss")
    ticks = [(v, s) for v, s in x.ticks(8) if v >= 1 and v % 1 == 0]
    parts = plot.frame(x_ticks=[(1.0, "1"), *(t for t in ticks if x(t[0]) - x(1.0) > 18)])
    summary = f"Learning curves over {epochs} epochs."
    best = eval_loss[best_epoch - 1] if best_epoch is not None and 0 < best_epoch <= len(eval_loss) else None
    if best_epoch is not None and best is not None:
        place = x(best_epoch)
        parts.append(tag("line", x1=place, x2=place, y1=bottom, y2=top, class_="marker"))
        late = place > (left + right) / 2
        parts.append(
            tag(
                "text",
                f"best epoch {best_epoch}: {significant(best)}",
                x=place + (-8 if late else 8),
                y=top + 6,
                class_="note",
                text_anchor="end" if late else "start",
            )
        )
        summary += f" The best eval loss, {significant(best)}, is at epoch {best_epoch}."
    ends: list[tuple[str, float]] = []
    for name, line in points.items():
        if not line:
            continue
        places = [(x(epoch), y(value)) for epoch, value in line]
        if len(places) > 1:
            parts.append(tag("path", d=line_path(places), class_=f"line {name}"))
        if len(places) == 1:
            parts.append(tag("circle", cx=places[0][0], cy=places[0][1], r=4, class_=f"point {name}"))
        ends.append((name, places[-1][1]))
    if best_epoch is not None and best is not None:
        parts.append(tag("circle", cx=x(best_epoch), cy=y(best), r=5, class_="point eval ringed"))
    for name, place in _spread(ends):
        parts.append(tag("text", name, x=right + 8, y=place + 4, class_=f"series {name}"))
    return plot.draw(parts, title=summary)


def _spread(ends: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Separates the labels of lines that end close together."""
    if len(ends) == 2 and abs(ends[0][1] - ends[1][1]) < _LINE_HEIGHT:
        upper, lower = sorted(ends, key=lambda end: end[1])
        middle = (upper[1] + lower[1]) / 2
        return [(upper[0], middle - _LINE_HEIGHT / 2), (lower[0], middle + _LINE_HEIGHT / 2)]
    return ends


def predicted_actual(points: Sequence[tuple[float, float]], keys: Sequence[str], label: str) -> Markup | None:
    """Predicted against actual values with the diagonal: points, or hexagons where there are many.

    Args:
        points: (actual, predicted) of each row.
        keys: the key of each row, shown when a point is hovered over.
        label: the name of the label.
    """
    if not points:
        return None
    left, right, top, bottom = 52.0, 520.0, 28.0, 432.0
    both = [v for pair in points for v in pair]
    x = Scale.over(both, left, right, padding=0.03)
    y = Scale(x.low, x.high, bottom, top)
    plot = Plot(x, y, 540.0, 480.0, f"Actual {label}", f"Predicted {label}")
    parts = plot.frame()
    parts.append(tag("line", x1=x(x.low), y1=y(x.low), x2=x(x.high), y2=y(x.high), class_="identity"))
    parts.append(tag("text", "equal", x=right - 2, y=top + 52, class_="note", text_anchor="end"))
    if len(points) <= _MOST_POINTS:
        for i, (actual, predicted) in enumerate(points):
            key = keys[i] if i < len(keys) else str(i + 1)
            hover = tag("title", f"{key}: predicted {plain(predicted)}, actual {plain(actual)}")
            parts.append(tag("circle", hover, cx=x(actual), cy=y(predicted), r=3.4, class_="point cloud"))
    else:
        parts += _hexagons([(x(actual), y(predicted)) for actual, predicted in points])
    shown = "as points" if len(points) <= _MOST_POINTS else "as hexagons, darker where more rows fall"
    return plot.draw(parts, title=f"Predicted against actual {label} of {count(len(points))} rows, {shown}.")


def _hexagons(places: list[tuple[float, float]], radius: float = 8.0) -> list[Markup]:
    """Hexagonal binning (Carr et al., 1987): of the two offset grids, a point belongs to the nearer centre."""
    dx, dy = radius * sqrt(3), radius * 3
    bins: Counter[tuple[float, float]] = Counter()
    for px, py in places:
        a = (round(px / dx) * dx, round(py / dy) * dy)
        b = ((round(px / dx - 0.5) + 0.5) * dx, (round(py / dy - 0.5) + 0.5) * dy)
        bins[min(a, b, key=lambda c: (c[0] - px) ** 2 + (c[1] - py) ** 2)] += 1
    most = max(bins.values())
    outline = ((0, -1), (0.866, -0.5), (0.866, 0.5), (0, 1), (-0.866, 0.5), (-0.866, -0.5))
    return [
        tag(
            "polygon",
            tag("title", f"{count(rows)} rows"),
            points=" ".join(
                f"{coordinate(cx + ox * radius * 0.97)},{coordinate(cy + oy * radius * 0.97)}" for ox, oy in outline
            ),
            class_="hexagon",
            # Readers judge area better than lightness, but a grid has only lightness; the root keeps rare bins visible.
            fill_opacity=f"{0.12 + 0.88 * sqrt(rows / most):.2f}",
        )
        for (cx, cy), rows in sorted(bins.items())
    ]


def unit_curve(
    points: Sequence[tuple[float, float]],
    *,
    x_name: str,
    y_name: str,
    chance: Sequence[tuple[float, float]],
    chance_name: str,
    title: str,
    weights: Sequence[float] | None = None,
) -> Markup | None:
    """A curve in the unit square with a reference line, such as chance.

    Args:
        points: in order along the curve, in [0, 1].
        x_name: of the horizontal axis.
        y_name: of the vertical axis.
        chance: the ends of the reference line.
        chance_name: label of the reference line.
        title: the text alternative.
        weights: rows behind each point; points are drawn with areas in proportion.
    """
    if not points:
        return None
    left, right, top, bottom = 44.0, 372.0, 28.0, 348.0
    x, y = Scale(0, 1, left, right), Scale(0, 1, bottom, top)
    plot = Plot(x, y, 392.0, 396.0, x_name, y_name)
    parts = plot.frame()
    parts.append(tag("path", d=line_path((x(a), y(b)) for a, b in chance), class_="identity"))
    middle_x, middle_y = (chance[0][0] + chance[1][0]) / 2, (chance[0][1] + chance[1][1]) / 2
    below = 0.1 if chance[0][1] != chance[1][1] else 0.045
    parts.append(tag("text", chance_name, x=x(middle_x) + 14, y=y(middle_y - below) + 8, class_="note"))
    parts.append(tag("path", d=line_path((x(a), y(b)) for a, b in points), class_="line eval"))
    most = max(weights) if weights else 0
    if weights and most > 0:
        for (a, b), rows in zip(points, weights, strict=False):
            hover = tag("title", f"{count(rows)} rows: predicted {plain(a, 3)}, observed {plain(b, 3)}")
            parts.append(
                tag("circle", hover, cx=x(a), cy=y(b), r=2.5 + 6 * sqrt(rows / most), class_="point cloud heavy")
            )
    return plot.draw(parts, title=title)


def density(quantiles: Sequence[float], *, title: str, bins: int = 28) -> Markup | None:
    """A small histogram from evenly spaced quantiles, between which the numbers of rows are equal."""
    if len(quantiles) < 3 or quantiles[-1] <= quantiles[0]:
        return None
    low, high = quantiles[0], quantiles[-1]
    width = (high - low) / bins
    mass = [0.0] * bins
    for start, end in itertools.pairwise(quantiles):
        first = min(int((start - low) / width), bins - 1)
        last = min(int((end - low) / width), bins - 1)
        for index in range(first, last + 1):
            overlap = min(end, low + (index + 1) * width) - max(start, low + index * width)
            mass[index] += overlap / (end - start) if end > start else 1.0
    most = max(mass)
    bars = [
        tag("rect", x=i * 4, width=3.4, y=30 - 29 * m / most, height=29 * m / most) for i, m in enumerate(mass) if m > 0
    ]
    return picture(bins * 4, 30, bars, title=title, css="spark")
