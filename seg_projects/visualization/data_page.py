"""The data doctor's page: findings, the images that show them, and what the data consist of."""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from seg_projects.data.doctor import KINDS, CategoryCount, DataStatistics, Finding
from seg_projects.files import write_atomically
from seg_projects.visualization.curves import format_number
from seg_projects.visualization.pictures import CARD_SIDE, read_picture, shrunk

_SAMPLES_PER_KIND = 2
_MAX_SAMPLES = 40
_GAP = 4
_EXAMPLES_PER_KIND = 5
_MAX_CLASSES = 60
_MARK = (255, 45, 85)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPage:
    """What the page shows."""

    title: str
    findings: Sequence[Finding]
    statistics: DataStatistics
    images: Path
    """Folder of the images."""
    samples: Sequence[tuple[str, np.ndarray]] = ()
    """Names of images, and (H, W, 3) RGB pictures of them with what annotates them."""


def write_data_page(path: Path, page: DataPage) -> Path:
    """Writes the page to ``path``, which it returns; the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, data_page_html(page).encode())
    return path


def data_page_html(page: DataPage) -> str:
    """The page as text: no other file and no network is needed."""
    statistics = page.statistics
    sections = [
        ("findings", "Findings", f'<div class="card">{_findings(page.findings)}</div>'),
        ("places", "Where they are", _places(page)),
        ("samples", "Samples", _samples(page)),
        ("classes", "Classes", f'<div class="card">{_classes(statistics)}</div>'),
        ("sizes", "Sizes", f'<div class="grid charts">{_sizes(statistics)}</div>'),
        ("colours", "Colours", f'<div class="grid charts">{_colors(statistics.colors)}</div>'),
    ]
    present = [s for s in sections if s[2]]
    folder = files("seg_projects.visualization")
    template = folder.joinpath("report.html").read_text("utf-8")
    style = folder.joinpath("data_page.css").read_text("utf-8")
    return Template(template).substitute(
        title=escape(page.title),
        summary=f"<p>{escape(_sentence(page.findings))}</p><style>\n{style}</style>",
        highlights=_highlights(page),
        navigation="".join(f'<a href="#{key}">{title}</a>' for key, title, _ in present),
        sections="\n".join(
            f'<section id="{key}"><h2>{title}</h2>{body}</section>' for key, title, body in present
        ),
    )


def _sentence(findings: Sequence[Finding]) -> str:
    if not findings:
        return "The data doctor found no defects."
    kinds = {f.kind for f in findings}
    errors = sorted({f.kind for f in findings if f.severity == "error"})
    text = f"The data doctor found {len(kinds)} kind{'s' * (len(kinds) > 1)} of defects."
    return f"{text} Errors stop a training: {', '.join(errors)}." if errors else text


def _highlights(page: DataPage) -> str:
    errors = sum(f.severity == "error" for f in page.findings)
    values = {
        "errors": errors,
        "warnings": len(page.findings) - errors,
        "images": sum(page.statistics.image_sizes.values()),
        "objects": sum(c.objects for c in page.statistics.categories),
        "classes": len(page.statistics.categories),
        "image sizes": len(page.statistics.image_sizes),
    }
    tiles = "".join(
        f"<div{' class=bad' if k == 'errors' and v else ''}><dt>{k}</dt><dd>{v:,}</dd></div>"
        for k, v in values.items()
    )
    return f'<dl class="highlights">{tiles}</dl>'


def _by_kind(findings: Iterable[Finding]) -> dict[str, list[Finding]]:
    """Errors first, in the order of ``KINDS``."""
    grouped: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        grouped[finding.kind].append(finding)
    order = sorted(grouped, key=lambda kind: (KINDS[kind] != "error", list(KINDS).index(kind)))
    return {kind: grouped[kind] for kind in order}


def _findings(findings: Sequence[Finding]) -> str:
    if not findings:
        return "<p>None.</p>"
    parts = []
    for kind, found in _by_kind(findings).items():
        shown = [
            f"<li>{escape(f.where)}: {escape(f.text)}</li>" for f in found[:_EXAMPLES_PER_KIND]
        ]
        if len(found) > _EXAMPLES_PER_KIND:
            shown.append(f"<li>... and {len(found) - _EXAMPLES_PER_KIND:,} more</li>")
        severity = KINDS[kind]
        parts.append(
            f'<article class="finding"><h3><span class="badge {severity}">{severity}</span>'
            f"{escape(kind)} <small>{len(found):,}</small></h3><ul>{''.join(shown)}</ul></article>"
        )
    return "".join(parts)


def _samples(page: DataPage) -> str:
    """A card for each annotated image."""
    cards = [_card(shrunk(Image.fromarray(picture)), "", name) for name, picture in page.samples]
    return f'<div class="shots">{"".join(cards)}</div>' if cards else ""


def _places(page: DataPage) -> str:
    """A card with the marked image for the first findings of each kind."""
    cards: list[str] = []
    for found in _by_kind(page.findings).values():
        shown = 0
        for finding in found:
            if shown == _SAMPLES_PER_KIND or len(cards) == _MAX_SAMPLES:
                break
            picture = marked_image(page.images, finding)
            if picture is not None:
                shown += 1
                text = f"{finding.where}: {finding.text}"
                cards.append(_card(picture, finding.kind, text))
    return f'<div class="shots">{"".join(cards)}</div>' if cards else ""


def _card(picture: Image.Image, title: str, text: str) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    heading = f"<h3>{escape(title)}</h3>" if title else ""
    return (
        f'<figure class="card"><img src="{url}" width="{picture.width}" height="{picture.height}" '
        f'loading="lazy" alt="{escape(title or text)}"><figcaption>{heading}'
        f"<p>{escape(text)}</p></figcaption></figure>"
    )


def marked_image(folder: Path, finding: Finding) -> Image.Image | None:
    """The image of a finding, shrunk, its shape drawn; None where it cannot be shown.

    An image that it is to be compared with stands at its right.
    """
    if finding.image is None:
        return None
    image = _read(folder / finding.image)
    if image is None:
        return None
    other = None if finding.beside is None else _read(finding.beside)
    if other is not None:
        return _side_by_side(image, other)
    small = shrunk(image)
    if finding.shape is not None:
        _draw(ImageDraw.Draw(small), finding.shape, small.width / image.width)
    return small


def _read(path: Path) -> Image.Image | None:
    try:
        return read_picture(path)
    except (OSError, ValueError, SyntaxError):
        return None


def _side_by_side(image: Image.Image, other: Image.Image) -> Image.Image:
    side = CARD_SIDE // 2
    first, second = shrunk(image, side), shrunk(other, side)
    size = (first.width + _GAP + second.width, max(first.height, second.height))
    pair = Image.new("RGB", size, "#888")
    pair.paste(first, (0, 0))
    pair.paste(second, (first.width + _GAP, 0))
    return pair


def _draw(draw: ImageDraw.ImageDraw, shape: Mapping[str, Any], scale: float) -> None:
    """The polygons thin, the box thick; what is no number is left out."""
    segmentation = shape.get("segmentation")
    for polygon in segmentation if isinstance(segmentation, list) else ():
        points = _numbers(polygon)
        if points is not None and points.size >= 4 and points.size % 2 == 0:
            draw.polygon(
                [tuple(p) for p in (points.reshape(-1, 2) * scale).tolist()], outline="#fff"
            )
    box = _numbers(shape.get("bbox"))
    if box is not None and box.size == 4:
        left, top, width, height = (box * scale).tolist()
        right, bottom = left + width, top + height
        corners = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        draw.rectangle(corners, outline=_MARK, width=3)


def _numbers(values: Any) -> np.ndarray | None:
    try:
        numbers = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        return None
    return numbers if np.isfinite(numbers).all() else None


def _classes(statistics: DataStatistics) -> str:
    by_area = statistics.by_area
    total = sum(c.pixels for c in statistics.categories) or 1
    sizes = {c.name: c.pixels / total if by_area else c.objects for c in statistics.categories}
    counts = sorted(statistics.categories, key=lambda c: -sizes[c.name])
    largest = max(sizes.values(), default=0) or 1
    rows = [
        f'<dt>{escape(c.name)}</dt><dd><i style="width:{100 * sizes[c.name] / largest:.1f}%"'
        f'{"" if c.objects else " class=none"}></i></dd><dd class="n">'
        f"{_how_often(c, sizes[c.name] if by_area else None)}</dd>"
        for c in counts[:_MAX_CLASSES]
    ]
    more = len(counts) - _MAX_CLASSES
    rest = f"<p>... and {more} rarer classes</p>" if more > 0 else ""
    return f'<dl class="bars">{"".join(rows)}</dl>{rest}'


def _how_often(count: CategoryCount, share: float | None) -> str:
    if not count.objects:
        return "none"
    what = f"{count.objects:,}" if share is None else f"{100 * share:.2g} % of the pixels"
    return f"{what} in {count.images:,} image{'s' * (count.images > 1)}"


def _sizes(statistics: DataStatistics) -> str:
    areas = [w * h / 1e6 for (w, h), n in statistics.image_sizes.items() for _ in range(n)]
    charts = [
        histogram(
            "Side of the objects", "% of the image", np.array(statistics.relative_sizes) * 100
        ),
        histogram("Objects per image", "", np.array(statistics.objects_per_image, dtype=float)),
        histogram("Size of the images", "megapixels", np.array(areas)),
    ]
    return "".join(charts)


def _colors(colors: np.ndarray) -> str:
    if not len(colors):
        return ""
    order = np.argsort(colors.sum(axis=1))
    chosen = colors[order[np.linspace(0, len(order) - 1, min(48, len(order))).astype(int)]]
    swatches = "".join(
        f'<i style="background:rgb({round(r)},{round(g)},{round(b)})"></i>' for r, g, b in chosen
    )
    mean = ", ".join(format_number(float(v)) for v in colors.mean(axis=0))
    palette = (
        f'<figure class="chart"><figcaption><h3>Mean colour of the images <small>dark to bright'
        f'</small></h3></figcaption><div class="palette">{swatches}</div>'
        f"<p><small>mean red, green, blue: {mean}</small></p></figure>"
    )
    return palette + histogram("Brightness of the images", "0 to 255", colors.mean(axis=1))


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """Of bars of one width; each whole number has its own where there are few of them."""
    low, high = float(values.min()), float(values.max())
    whole = bool((values == values.round()).all())
    if low == high:
        return np.array([low - 1.5, low - 0.5, low + 0.5, low + 1.5])  # one bar in the middle
    if whole and high - low < bins:
        return np.arange(low - 0.5, high + 1)
    return np.linspace(low, high, bins + 1)


def histogram(title: str, unit: str, values: np.ndarray, bins: int = 24) -> str:
    """A figure with bars; "" without values."""
    if not values.size:
        return ""
    edges = _edges(values, bins)
    counts, _ = np.histogram(values, bins=edges)
    width, height, base = 400, 150, 130
    step = width / len(counts)
    bars = "".join(
        f'<rect x="{i * step + 1:.1f}" y="{base - 120 * n / counts.max():.1f}" '
        f'width="{step - 2:.1f}" height="{120 * n / counts.max():.1f}" rx="2" fill="var(--c0)"/>'
        for i, n in enumerate(counts.tolist())
        if n
    )
    low, high = float(values.min()), float(values.max())
    ends = ((0, "start", low), (200, "middle", (low + high) / 2), (400, "end", high))
    labels = "".join(
        f'<text x="{x}" y="147" style="text-anchor:{anchor}">{escape(format_number(v))}</text>'
        for x, anchor, v in (ends if low < high else ends[1:2])
    )
    small = f" <small>{escape(unit)}</small>" if unit else ""
    median = format_number(float(np.median(values)))
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}{small}</h3></figcaption>'
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}, median '
        f'{median}">{bars}<path class="rule" d="M0 {base}H{width}"/>{labels}</svg></figure>'
    )
