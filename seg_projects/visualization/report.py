"""The report of a run: one HTML page that holds everything, and a PNG file per comparison."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from seg_projects.files import write_atomically
from seg_projects.visualization.curves import Record, chart_html, format_number, training_charts
from seg_projects.visualization.overlay import Category, Image, side_by_side
from seg_projects.visualization.samples import Sample

Cell = str | float | None

# Of the embedded pictures, in pixels: sharp on fine screens, and less where there are many.
_EMBEDDED_WIDTH, _SMALL_WIDTH = 960, 480
_MANY_SAMPLES = 48
_JPEG_QUALITY = 88


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of results."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    """As many cells each as there are columns; None and NaN mean "no value"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report shows; a part that is empty is left out."""

    title: str
    summary: str = ""
    """A sentence below the title."""
    highlights: Mapping[str, float | str] = field(default_factory=dict)
    """The few results that count, shown large."""
    tables: Sequence[Table] = ()
    records: Sequence[Record] = ()
    """Of the training, as ``read_metrics`` returns them."""
    samples: Sequence[Sample] = ()
    worst: Sequence[Sample] = ()
    """Images on which a metric is worst, with their values; on the page alone."""
    categories: Sequence[Category] = ()
    """For the legend of the samples and the colours in the tables."""
    config: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def write_report(output_dir: Path, report: Report) -> Path:
    """Writes ``report.html`` and ``report/*.png``; returns the path of the page.

    The page needs no other file and no network. Both replace what a former report left; a file
    takes its place only when it is complete.
    """
    html = report_html(report)
    picture_dir = output_dir / "report"
    picture_dir.mkdir(parents=True, exist_ok=True)
    written = {_write_comparison(picture_dir, i, s) for i, s in enumerate(report.samples, start=1)}
    for path in set(picture_dir.glob("*.png")) - written:
        path.unlink()
    page = output_dir / "report.html"
    write_atomically(page, html.encode())
    return page


def report_html(report: Report) -> str:
    """The page as text."""
    sections = [
        _section("results", "Results", "tables", _tables(report)),
        _section(
            "training",
            "Training",
            "grid charts",
            map(chart_html, training_charts(report.records)),
            note="Over the iterations; each name with its last value.",
        ),
        _section("samples", "Samples", "samples", _samples(report.samples, report.categories)),
        _section("worst", "Worst images", "samples", _samples(report.worst, report.categories)),
        _section("setup", "Setup", "grid setup", _facts(report)),
    ]
    present = [section for section in sections if section is not None]
    template = files("seg_projects.visualization").joinpath("report.html").read_text("utf-8")
    return Template(template).substitute(
        title=escape(report.title),
        summary=f"<p>{escape(report.summary)}</p>" if report.summary else "",
        highlights=_highlights(report.highlights),
        navigation="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in present),
        sections="\n".join(body for _, _, body in present),
    )


def _section(
    key: str, title: str, style: str, parts: Iterable[str], *, note: str = ""
) -> tuple[str, str, str] | None:
    """Anchor, title and HTML of a section, ``note`` below its title; None if it has no parts."""
    content = "\n".join(parts)
    if not content:
        return None
    body = (
        f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>'
        f"{f'<p class=note>{note}</p>' if note else ''}"
        f'<div class="{style}">{content}</div></section>'
    )
    return key, title, body


def _highlights(values: Mapping[str, float | str]) -> str:
    if not values:
        return ""
    tiles = "".join(
        f"<div><dt>{escape(name)}</dt>"
        f"<dd{' class=text' if isinstance(value, str) else ''}>{_text(value)}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="highlights">{tiles}</dl>'


def _text(cell: Cell) -> str:
    if cell is None:
        cell = float("nan")
    if isinstance(cell, float) and 0.005 <= abs(cell) < 1:
        return f"{cell:.2f}"  # like the larger figures of its column
    return escape(cell) if isinstance(cell, str) else format_number(cell)


def _swatch(color: Sequence[int]) -> str:
    red, green, blue = (int(channel) for channel in color)
    return f'<i class="swatch" style="background:rgb({red},{green},{blue})"></i>'


def _tables(report: Report) -> list[str]:
    colors = {category.name: category.color for category in report.categories}
    return [_table(table, colors) for table in report.tables]


def _table(table: Table, colors: Mapping[str, Sequence[int]]) -> str:
    width = len(table.columns)
    for row in table.rows:
        if len(row) != width:
            raise ValueError(f"Table {table.title!r} has {width} columns, a row has {len(row)}.")
    textual = [any(isinstance(row[i], str) for row in table.rows) for i in range(width)]
    align = [' class="text"' if is_text else "" for is_text in textual]
    head = "".join(
        f'<th scope="col"{a}>{escape(c)}</th>' for a, c in zip(align, table.columns, strict=True)
    )
    body = []
    for row in table.rows:
        cells = []
        for index, cell in enumerate(row):
            tag, scope = ("th", ' scope="row"') if index == 0 else ("td", "")
            color = colors.get(cell) if index == 0 and isinstance(cell, str) else None
            mark = _swatch(color) if color else ""
            cells.append(f"<{tag}{scope}{align[index]}>{mark}{_text(cell)}</{tag}>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="card table" role="region" tabindex="0" aria-label="{escape(table.title)}">'
        f"<table><caption>{escape(table.title)}</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _panels(sample: Sample) -> list[tuple[str, Image]]:
    panels = [("Image", sample.image)]
    if sample.ground_truth is not None:
        panels.append(("Ground truth", sample.ground_truth))
    return [*panels, ("Prediction", sample.prediction)]


def _samples(samples: Sequence[Sample], categories: Sequence[Category]) -> list[str]:
    if not samples:
        return []
    width = _EMBEDDED_WIDTH if len(samples) <= _MANY_SAMPLES else _SMALL_WIDTH
    return [_legend(categories), *(_sample(sample, width) for sample in samples)]


def _legend(categories: Sequence[Category]) -> str:
    if not categories:
        return ""
    entries = "".join(f"<li>{_swatch(c.color)}{escape(c.name)}</li>" for c in categories)
    # Between instances there is the image itself.
    if not all(c.is_thing for c in categories):
        entries += '<li><i class="swatch void"></i>void</li>'
    return f'<ul class="legend" aria-label="Colours of the categories">{entries}</ul>'


def _sample(sample: Sample, width: int) -> str:
    name = escape(sample.name)
    figures = "".join(
        f'<figure><img src="{_data_url(image, width)}" width="{image.shape[1]}" '
        f'height="{image.shape[0]}" loading="lazy" alt="{label} of {name}">'
        f"<figcaption>{label}</figcaption></figure>"
        for label, image in _panels(sample)
    )
    return (
        f'<article class="card sample"><header><h3>{name}</h3><p>{escape(sample.caption)}</p>'
        f'</header><div class="panels" tabindex="0" role="group" aria-label="{name}">{figures}'
        "</div></article>"
    )


def _data_url(image_rgb: Image, width: int) -> str:
    """The image as a JPEG inside a URL, shrunk to ``width`` pixels at most."""
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(image_rgb)
    picture.thumbnail((width, 4 * width))
    buffer = io.BytesIO()
    # No chroma subsampling: it blurs the thin boundaries of the overlays.
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _facts(report: Report) -> list[str]:
    groups = (("Configuration", report.config), ("Environment", report.environment))
    return [
        f'<div class="card"><h3>{title}</h3><dl class="facts">'
        + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items())
        + "</dl></div>"
        for title, facts in groups
        if facts
    ]


def _write_comparison(folder: Path, position: int, sample: Sample) -> Path:
    """Writes image, ground truth and prediction in one row; returns the path of the PNG."""
    from PIL import Image as PillowImage

    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", sample.name).strip("-.")[:80]
    path = folder / f"{position:03d}-{slug}.png"
    row = PillowImage.fromarray(side_by_side([image for _, image in _panels(sample)]))
    buffer = io.BytesIO()
    row.save(buffer, "PNG")
    write_atomically(path, buffer.getvalue())
    return path
