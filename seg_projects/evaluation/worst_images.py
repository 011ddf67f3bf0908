"""The images with the worst values of each metric: what a report shows first."""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Collection, Mapping
from typing import NamedTuple

from detectron2.utils import comm


class WorstImage(NamedTuple):
    """An image and its value, ordered from the worst on."""

    badness: float  # the value, or its negative where large values are bad
    image_id: int | str
    file_name: str


class WorstImages:
    """Keeps the ``limit`` images with the lowest value of each metric, in memory for no more.

    Equal values are ordered by image id, so several processes give the images of one.
    """

    def __init__(self, limit: int, *, lower_is_better: Collection[str] = ()) -> None:
        """``lower_is_better``: metrics, such as distances, of which the highest values are kept."""
        self.limit = limit
        self.lower_is_better = frozenset(lower_is_better)
        self.by_metric: dict[str, list[WorstImage]] = {}

    def add(self, image_id: int | str, file_name: str, values: Mapping[str, float]) -> None:
        """Notes an image; NaN, a metric that is undefined on it, is left out."""
        for metric, value in values.items():
            if not math.isnan(value):
                badness = -value if metric in self.lower_is_better else value
                self._insert(metric, WorstImage(float(badness), image_id, file_name))

    def _insert(self, metric: str, image: WorstImage) -> None:
        kept = self.by_metric.setdefault(metric, [])
        # An image that pads an uneven data set comes twice.
        if all(other.image_id != image.image_id for other in kept):
            insort(kept, image)
            del kept[self.limit :]

    def gather(self) -> WorstImages | None:
        """Those of all processes; None on all but the first."""
        gathered = comm.gather(self.by_metric)
        if not comm.is_main_process():
            return None
        merged = WorstImages(self.limit, lower_is_better=self.lower_is_better)
        for by_metric in gathered:
            for metric, images in by_metric.items():
                for image in images:
                    merged._insert(metric, image)
        return merged

    def as_json(self) -> dict[str, list[dict[str, float | int | str]]]:
        """``{metric: [{"image_id": ..., "file_name": ..., "value": ...}, ...]}``, worst first."""
        return {
            metric: [
                {
                    "image_id": image.image_id,
                    "file_name": image.file_name,
                    "value": -image.badness if metric in self.lower_is_better else image.badness,
                }
                for image in images
            ]
            for metric, images in self.by_metric.items()
        }
