"""What a data set consists of: how often classes occur, how large objects are, which colours."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from seg_projects.data.doctor.findings import Record
from seg_projects.data.doctor.images import is_sound_image, is_whole

_MAX_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryCount:
    """One class."""

    name: str
    objects: int
    """Instances, or segments."""
    images: int
    pixels: float
    """Sum of the areas as stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataStatistics:
    """Numbers about images, objects, classes and colours; sound records alone."""

    categories: list[CategoryCount]
    """In the order of the file."""
    image_sizes: Counter[tuple[int, int]]
    """How many images have a size (width, height)."""
    objects_per_image: list[int]
    relative_sizes: list[float]
    """Root of each object's share of its image, in (0, 1]: its side as a share of the image's."""
    gaps: list[tuple[int, int]]
    """First and last id of each run of ids without a category, between those that have one."""
    colors: np.ndarray
    """(N, 3) mean red, green, blue of the decoded images, in [0, 255]."""

    @property
    def by_area(self) -> bool:
        """Whether no class is twice in an image, as in label maps: then areas tell more."""
        return all(c.objects == c.images for c in self.categories)

    def summary(self) -> str:
        """How much there is, and which categories do not occur."""
        names = [c.name for c in self.categories if not c.objects]
        text = f"{sum(self.image_sizes.values())} images, "
        text += f"{sum(c.objects for c in self.categories)} objects, "
        text += f"{len(self.categories)} categories"
        if not names:
            return text
        listed = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
        return f"{text}; {len(names)} of them without objects: {listed}"

    def lines(self) -> list[str]:
        """The most telling numbers, a line each."""
        sizes = sorted(self.image_sizes)
        widths, heights = [w for w, _ in sizes] or [0], [h for _, h in sizes] or [0]
        per_image, relative = np.array(self.objects_per_image), np.array(self.relative_sizes)
        text = f"images: {len(sizes)} sizes, {min(widths)}-{max(widths)} x "
        lines = [text + f"{min(heights)}-{max(heights)} pixels"]
        if self.gaps:
            listed = [str(a) if a == b else f"{a}-{b}" for a, b in self.gaps[:5]]
            text = ", ".join(listed) + (", ..." if len(self.gaps) > 5 else "")
            lines.append(f"no category has the ids {text}: fine, models count without gaps")
        if per_image.size:
            lines.append(
                f"objects per image: {per_image.min()} to {per_image.max()}, median "
                f"{np.median(per_image):g}; {int((per_image == 0).sum())} images without"
            )
        if relative.size:
            low, middle, high = np.percentile(relative, (5, 50, 95)) * 100
            lines.append(
                f"object side: {middle:.3g} % of the image's (median), 90 % of them between "
                f"{low:.2g} and {high:.2g} %"
            )
        if len(self.colors):
            mean, spread = self.colors.mean(axis=0), self.colors.std(axis=0)
            parts = [f"{m:.1f} (+-{s:.1f})" for m, s in zip(mean, spread, strict=True)]
            lines.append(f"mean red, green, blue of the images: {', '.join(parts)}")
        return lines


def data_statistics(content: Record, colors: Mapping[str, tuple[float, ...]]) -> DataStatistics:
    """Counts what a COCO file states.

    Args:
        content: instances or panoptic.
        colors: mean colour by file name, see :func:`check_image_files`.
    """
    images = {i["id"]: i for i in content["images"] if is_sound_image(i)}
    objects: Counter[int] = Counter()
    pixels: dict[int, float] = defaultdict(float)
    where: dict[int, set[int]] = defaultdict(set)
    per_image: Counter[int] = Counter(dict.fromkeys(images, 0))
    relative = []
    for image_id, category, area in _objects(content):
        if image_id not in images:
            continue
        objects[category] += 1
        pixels[category] += area
        where[category].add(image_id)
        per_image[image_id] += 1
        share = area / (images[image_id]["height"] * images[image_id]["width"])
        if 0 < share <= 1:
            relative.append(math.sqrt(share))
    return DataStatistics(
        categories=[
            CategoryCount(
                name=str(c.get("name")),
                objects=objects[c.get("id")],
                images=len(where[c.get("id")]),
                pixels=pixels[c.get("id")],
            )
            for c in content["categories"]
        ],
        image_sizes=Counter((i["width"], i["height"]) for i in images.values()),
        objects_per_image=list(per_image.values()),
        relative_sizes=relative,
        gaps=_gaps(content["categories"]),
        colors=np.array(list(colors.values()), dtype=np.float64).reshape(-1, 3),
    )


def _gaps(categories: Sequence[Record]) -> list[tuple[int, int]]:
    ids = sorted({c["id"] for c in categories if is_whole(c.get("id"))})
    return [(low + 1, high - 1) for low, high in pairwise(ids) if high > low + 1]


def _objects(content: Record) -> list[tuple[int, int, float]]:
    """Image id, category id and area of each instance or segment; area 0 where it is no number."""
    rows = []
    for annotation in content["annotations"]:
        for item in annotation.get("segments_info", [annotation]) or ():
            area = item.get("area")
            known = isinstance(area, int | float) and math.isfinite(area)
            row = (annotation.get("image_id"), item.get("category_id"), area if known else 0)
            if isinstance(row[0], int | str) and isinstance(row[1], int):
                rows.append(row)
    return rows
