"""Training targets of Panoptic-DeepLab (arXiv:1911.10194, section 3) from a map of segment ids.

The cost follows the pixels, whatever the number of segments: rows of a map are cut into runs of
equal ids, of which there are few; areas and centres are sums over runs, and each target is one
value per run, written once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

# Pixels; smaller maps take less time than the compiled code takes to load.
KERNELS_FROM = 1 << 19


class _Runs(NamedTuple):
    """Maximal stretches of one id within a row, in reading order."""

    rows: np.ndarray  # (R,) int64
    columns: np.ndarray  # (R,) int64, of the first pixel
    lengths: np.ndarray  # (R,) int64, in pixels
    ids: np.ndarray  # (R,)


class _Segments(NamedTuple):
    """A value per segment of the map, and one last row for pixels of no segment."""

    labels: np.ndarray  # (S + 1,) int64 semantic label
    semantic_weights: np.ndarray  # (S + 1,) float32
    center_weights: np.ndarray  # (S + 1,) float32
    offset_weights: np.ndarray  # (S + 1,) float32
    centers_yx: np.ndarray  # (S + 1, 2) float64 pixel indices, NaN unless it is a thing


@dataclass(frozen=True)
class PanopticDeepLabTargetGenerator:
    """Called with a map of ids and its segments, gives the targets of Panoptic-DeepLab.

    Attributes:
        ignore_label: semantic label of pixels that belong to no segment.
        thing_ids: classes that have instances, hence a centre and offsets.
        sigma: standard deviation of the peaks in the centre map, in pixels.
        ignore_stuff_in_offset: stuff has offset weight 0, not 1.
        small_instance_area: things with fewer pixels than this are small.
        small_instance_weight: semantic weight of the pixels of small things; 1 elsewhere.
        ignore_crowd_in_semantic: crowds have the label ``ignore_label``.
    """

    ignore_label: int
    thing_ids: Collection[int]
    sigma: float = 8
    ignore_stuff_in_offset: bool = False
    small_instance_area: int = 0
    small_instance_weight: float = 1
    ignore_crowd_in_semantic: bool = False

    def __call__(
        self, panoptic: np.ndarray, segments_info: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The targets of one image.

        Crowds, too, have peaks and offsets, with weight 0: the loss does not see them.

        Args:
            panoptic: (H, W) integer segment ids.
            segments_info: per segment its ``id``, ``category_id`` (a class) and ``iscrowd``.

        Returns:
            ``sem_seg`` (H, W) int64; ``center`` (H, W) float32 in [0, 1]; ``center_points``, a
            list of [y, x] mean pixel indices; ``offset`` (2, H, W) float32, from each pixel of a
            thing to its centre as (dy, dx), 0 elsewhere; ``sem_seg_weights`` (H, W),
            ``center_weights`` and ``offset_weights`` (1, H, W), float32.
        """
        if kernels := _kernels(panoptic):
            return self._by_kernels(kernels, panoptic, segments_info)
        size = panoptic.shape
        runs = _runs_of(panoptic)
        index = _segment_of_runs(runs.ids, segments_info)
        areas, means_yx = _areas_and_means(runs, index, len(segments_info) + 1)
        table, points = self._describe(areas, means_yx, segments_info)

        def painted(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.repeat(values[index], runs.lengths).reshape(size))

        return {
            "sem_seg": painted(table.labels),
            "center": torch.from_numpy(self._center_map(points, size)),
            "center_points": points,
            "offset": torch.from_numpy(_offsets(runs, table.centers_yx[index], size)),
            "sem_seg_weights": painted(table.semantic_weights),
            "center_weights": painted(table.center_weights)[None],
            "offset_weights": painted(table.offset_weights)[None],
        }

    def _by_kernels(
        self,
        kernels: ModuleType,
        panoptic: np.ndarray,
        segments_info: Sequence[Mapping[str, Any]],
    ) -> dict[str, Any]:
        """The same by compiled loops: one pass that sums, one that writes."""
        size = panoptic.shape
        # Of an id that is listed twice the last row counts.
        row_of = {segment["id"]: row for row, segment in enumerate(segments_info)}
        known = np.array(sorted(row_of), dtype=np.int64)
        rows = np.array([row_of[id_] for id_ in known.tolist()], dtype=np.int64)
        sums = kernels.areas_and_sums(panoptic, known, rows, len(segments_info))
        with np.errstate(invalid="ignore"):
            means_yx = sums[:, 1:] / sums[:, :1]
        table, points = self._describe(sums[:, 0], means_yx, segments_info)
        weights = np.stack(
            [table.semantic_weights, table.center_weights, table.offset_weights], axis=1
        )
        sem_seg = np.empty(size, dtype=np.int64)
        maps = np.empty((3, *size), dtype=np.float32)
        offset = np.empty((2, *size), dtype=np.float32)
        kernels.paint(
            panoptic, known, rows, table.labels, weights, table.centers_yx, sem_seg, maps, offset
        )
        return {
            "sem_seg": torch.from_numpy(sem_seg),
            "center": torch.from_numpy(self._center_map(points, size)),
            "center_points": points,
            "offset": torch.from_numpy(offset),
            "sem_seg_weights": torch.from_numpy(maps[0]),
            "center_weights": torch.from_numpy(maps[1:2]),
            "offset_weights": torch.from_numpy(maps[2:]),
        }

    def _describe(
        self,
        areas: np.ndarray,
        means_yx: np.ndarray,
        segments_info: Sequence[Mapping[str, Any]],
    ) -> tuple[_Segments, list[list[float]]]:
        """The values of each segment, and the centres of the things that the map shows."""
        count = len(segments_info)
        table = _Segments(
            labels=np.full(count + 1, self.ignore_label, dtype=np.int64),
            semantic_weights=np.ones(count + 1, dtype=np.float32),
            center_weights=np.zeros(count + 1, dtype=np.float32),
            offset_weights=np.zeros(count + 1, dtype=np.float32),
            centers_yx=np.full((count + 1, 2), np.nan),
        )
        points: list[list[float]] = []
        for row, segment in enumerate(segments_info):
            thing = segment["category_id"] in self._things
            crowd = bool(segment["iscrowd"])
            if not (crowd and self.ignore_crowd_in_semantic):
                table.labels[row] = segment["category_id"]
            table.center_weights[row] = not crowd
            table.offset_weights[row] = not crowd and (thing or not self.ignore_stuff_in_offset)
            if not thing or areas[row] == 0:
                continue
            if areas[row] < self.small_instance_area:
                table.semantic_weights[row] = self.small_instance_weight
            table.centers_yx[row] = means_yx[row]
            points.append(means_yx[row].tolist())
        return table, points

    @cached_property
    def _things(self) -> frozenset[int]:
        return frozenset(self.thing_ids)

    @cached_property
    def _peak(self) -> np.ndarray:
        """A Gaussian of height 1 out to 3 sigma and a pixel, (D, D) float32."""
        radius = int(3 * self.sigma + 1)
        squares = np.arange(-radius, radius + 1, dtype=np.float64) ** 2
        exponent = (squares[:, None] + squares) / (2 * self.sigma**2)
        return np.exp(-exponent).astype(np.float32)

    def _center_map(self, points: Sequence[Sequence[float]], size: tuple[int, ...]) -> np.ndarray:
        """(H, W) float32: at each pixel the highest of the peaks around ``points``."""
        heat = np.zeros(size, dtype=np.float32)
        peak = self._peak
        radius = len(peak) // 2
        for point in points:
            # The pixel nearest to the mean: halves go to the even one, as Python rounds.
            top, left = (round(value) - radius for value in point)
            window = heat[max(top, 0) : top + len(peak), max(left, 0) : left + len(peak)]
            part = peak[max(-top, 0) :, max(-left, 0) :][: window.shape[0], : window.shape[1]]
            np.maximum(window, part, out=window)
        return heat


def _kernels(panoptic: np.ndarray) -> ModuleType | None:
    """The compiled loops; None where they are not for this map."""
    if panoptic.size < KERNELS_FROM or find_spec("numba") is None:
        return None
    from seg_projects.data import panoptic_target_kernels

    return panoptic_target_kernels


def _runs_of(ids: np.ndarray) -> _Runs:
    height, width = ids.shape
    flat = np.ascontiguousarray(ids).reshape(-1)
    first = np.empty(ids.shape, dtype=bool)
    first[:, :1] = True
    np.not_equal(ids[:, 1:], ids[:, :-1], out=first[:, 1:])
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=height * width)
    rows, columns = np.divmod(starts, max(width, 1))
    return _Runs(rows, columns, lengths, flat[starts])


def _segment_of_runs(ids: np.ndarray, segments_info: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """(R,) the index in ``segments_info`` of each run, the number of segments for none."""
    row_of = {segment["id"]: row for row, segment in enumerate(segments_info)}
    present, inverse = np.unique(ids, return_inverse=True)
    table = [row_of.get(id_, len(segments_info)) for id_ in present.tolist()]
    return np.array(table, dtype=np.int64)[inverse]


def _areas_and_means(runs: _Runs, index: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Areas (count,) in pixels and means (count, 2) of the pixels' (y, x); NaN where empty."""
    lengths = runs.lengths.astype(np.float64)
    # Sums of integers and halves below 2^53: exact.
    sums_y = np.bincount(index, weights=runs.rows * lengths, minlength=count)
    middles = runs.columns + (lengths - 1) / 2
    sums_x = np.bincount(index, weights=middles * lengths, minlength=count)
    areas = np.bincount(index, weights=lengths, minlength=count)
    with np.errstate(invalid="ignore"):
        return areas, np.stack([sums_y, sums_x], axis=1) / areas[:, None]


def _offsets(runs: _Runs, centers_yx: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """(2, H, W) float32 (dy, dx) to the centre, 0 where that of the run (R, 2) is NaN."""
    offsets = np.zeros((2, *size), dtype=np.float32)
    thing = ~np.isnan(centers_yx[:, 0])
    dy = np.where(thing, centers_yx[:, 0] - runs.rows, 0).astype(np.float32)
    offsets[0] = np.repeat(dy, runs.lengths).reshape(size)
    # Pixels of things alone: along a run, x counts from its first column.
    lengths = runs.lengths[thing]
    ends = np.cumsum(lengths)
    starts = (runs.rows * size[1] + runs.columns)[thing]
    pixels = np.arange(lengths.sum()) + np.repeat(starts - (ends - lengths), lengths)
    columns = pixels % max(size[1], 1)
    offsets[1].reshape(-1)[pixels] = np.repeat(centers_yx[thing, 1], lengths) - columns
    return offsets
