"""Training curves: records of a metrics.json file, and their line charts as inline SVG.

The charts take text and colours from the page around them: the series use the classes ``s0`` to
``s7``, which the style sheet of the report defines for light and dark.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger(__name__)

Record = Mapping[str, float]
Points = Sequence[tuple[float, float]]

# Of the chart, in SVG units (CSS pixels at its natural size).
_WIDTH, _HEIGHT = 400, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 8, 24
_NUM_COLORS = 8
_MAX_POINTS = 400

# Title, unit and the keys of the charts of quality. A chart without any of its keys is left out.
_QUALITY_CHARTS = (
    ("Panoptic quality", "%", ("panoptic_seg/PQ", "panoptic_seg/PQ_th", "panoptic_seg/PQ_st")),
    ("Average precision", "%", ("segm/AP", "bbox/AP")),
    ("Intersection over union", "%", ("sem_seg/mIoU", "sem_seg/fwIoU")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One line chart over the iteration."""

    title: str
    unit: str
    """Empty for plain numbers."""
    series: Mapping[str, Points]
    """(iteration, value) in ascending order, finite, by name."""


def read_metrics(path: Path) -> list[dict[str, float]]:
    """The records of a metrics.json file: one JSON object with numbers per line.

    A line that a crash cut off, at the end or in front of the records of the resumed run, is
    skipped, and so are values that are no numbers.
    """
    records, broken = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            record = None
        if not isinstance(record, dict):
            broken += 1
            continue
        records.append(
            {
                key: float(value)
                for key, value in record.items()
                if isinstance(value, int | float) and not isinstance(value, bool)
            }
        )
    if broken:
        logger.warning("Skipped %d incomplete line(s) of %s", broken, path)
    return records


def training_charts(records: Sequence[Record]) -> list[Chart]:
    """The charts that the records have values for: quality, losses, learning rate, time."""
    keys = sorted({key for record in records for key in record})
    losses = [key for key in keys if key.startswith("loss")]
    wanted = [
        *_QUALITY_CHARTS,
        ("Total loss", "", ("total_loss",)),
        ("Losses", "", losses),
        ("Learning rate", "", ("lr",)),
        ("Time per iteration", "s", ("time", "data_time")),
    ]
    charts = []
    for title, unit, names in wanted:
        series = {_short(name): points for name in names if (points := _points(records, name))}
        if series:
            charts.append(Chart(title=title, unit=unit, series=series))
    return charts


def _short(key: str) -> str:
    """``mask AP`` for ``segm/AP``; other names without their task."""
    tasks = {"segm/AP": "mask AP", "bbox/AP": "box AP"}
    return tasks.get(key, key.rpartition("/")[-1])


def _points(records: Sequence[Record], key: str) -> Points:
    """Finite values of ``key`` by iteration; after a resumption the later record counts."""
    values = {
        record["iteration"]: record[key]
        for record in records
        if "iteration" in record and math.isfinite(record.get(key, math.nan))
    }
    return _thinned(sorted(values.items()))


def _thinned(points: Points) -> Points:
    """At most ``_MAX_POINTS`` points: the lowest and the highest of each of equal stretches."""
    if len(points) <= _MAX_POINTS:
        return points
    stretch = math.ceil(len(points) / (_MAX_POINTS // 2))
    kept = []
    for start in range(0, len(points), stretch):
        part = points[start : start + stretch]
        ends = {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
        kept += sorted(ends)
    return kept


def format_number(value: float) -> str:
    """A number as people write it: 4 significant digits or so, no exponent where avoidable."""
    if math.isnan(value):
        return "–"  # noqa: RUF001 - an en dash is what tables show for "no value"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    size = abs(value)
    if value == int(value) and (isinstance(value, int) or size >= 1e6):
        return f"{int(value):,}"
    if size == 0:
        return "0"
    if size < 1e-3:
        return f"{value:.2e}".replace("e-0", "e-")
    for limit, digits in ((1, 4), (100, 2), (10_000, 1)):
        if size < limit:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def axis_ticks(low: float, high: float, *, count: int = 5) -> list[float]:
    """Round numbers, about ``count`` steps of 1, 2, 2.5 or 5 times a power of ten apart.

    The first is at most ``low`` and the last at least ``high``.
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= span / count * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, max(last, first + 1) + 1)]


def _tick_label(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.1e}".replace("e-0", "e-").replace(".0e", "e")
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    return f"{value:g}"


def chart_html(chart: Chart) -> str:
    """A ``figure`` with title, legend with the latest values, and the chart as SVG."""
    legend = "".join(
        f'<li class="s{index % _NUM_COLORS}"><i></i>{escape(name)} '
        f"<b>{format_number(points[-1][1])}</b></li>"
        for index, (name, points) in enumerate(chart.series.items())
    )
    unit = f" <small>{escape(chart.unit)}</small>" if chart.unit else ""
    return (
        f'<figure class="chart"><figcaption><h3>{escape(chart.title)}{unit}</h3>'
        f"<ul>{legend}</ul></figcaption>{_svg(chart)}</figure>"
    )


class _Frame(NamedTuple):
    """The plotted range, and the ticks of both axes."""

    x_0: float
    x_1: float
    ticks_x: list[float]
    ticks_y: list[float]

    def at_x(self, x: float) -> str:
        share = (x - self.x_0) / (self.x_1 - self.x_0)
        return f"{_LEFT + share * (_WIDTH - _LEFT - _RIGHT):.1f}"

    def at_y(self, y: float) -> str:
        share = (y - self.ticks_y[0]) / (self.ticks_y[-1] - self.ticks_y[0])
        return f"{_HEIGHT - _BOTTOM - share * (_HEIGHT - _TOP - _BOTTOM):.1f}"


def _frame(chart: Chart) -> _Frame:
    """From iteration 0 to the last one, and from 0 to beyond the largest value."""
    last = max(x for points in chart.series.values() for x, _ in points)
    values = [y for points in chart.series.values() for _, y in points]
    ticks_x = axis_ticks(0, max(last, 1))
    # The last of 1500 iterations is 1499: it stands at the tick 1500.
    end = ticks_x[-1] if ticks_x[-1] <= 1.01 * last else max(last, 1)
    return _Frame(
        x_0=0,
        x_1=end,
        ticks_x=[tick for tick in ticks_x if tick <= end],
        ticks_y=axis_ticks(min(0.0, *values), max(0.0, *values)),
    )


def _svg(chart: Chart) -> str:
    frame = _frame(chart)
    parts = []
    for tick in frame.ticks_y:
        y, label = frame.at_y(tick), _tick_label(tick)
        parts.append(f'<path class="rule" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y}" dy=".32em" class="y">{label}</text>')
    for tick in frame.ticks_x:
        parts.append(f'<text x="{frame.at_x(tick)}" y="{_HEIGHT - 6}">{_tick_label(tick)}</text>')
    # The first series lies on top.
    for index, points in reversed(list(enumerate(chart.series.values()))):
        places = [f"{frame.at_x(x)} {frame.at_y(y)}" for x, y in points]
        x, y = places[-1].split()
        parts.append(
            f'<g class="s{index % _NUM_COLORS}"><path class="line" d="M{"L".join(places)}"/>'
            f'<circle cx="{x}" cy="{y}" r="3"/></g>'
        )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(_spoken(chart))}">{"".join(parts)}</svg>'
    )


def _spoken(chart: Chart) -> str:
    """What a screen reader says instead of the drawing."""
    courses = (
        f"{name} from {format_number(points[0][1])} to {format_number(points[-1][1])}"
        for name, points in chart.series.items()
    )
    return f"{chart.title} over the iterations: {'; '.join(courses)}"
