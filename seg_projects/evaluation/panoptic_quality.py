"""Panoptic quality on arrays: exactly panopticapi's definition (arXiv:1801.00868, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

VOID = 0


class PanopticCounts(NamedTuple):
    """Per category (C,): the whole state of PQ. Counts of several images add up."""

    iou_sum: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray


class PairHistogram(NamedTuple):
    """Pixels per pair of segment ids (P,) that occur at one place; a pair may occur repeatedly."""

    truth_ids: np.ndarray
    predicted_ids: np.ndarray
    pixels: np.ndarray


def pair_histogram(truth_ids: np.ndarray, predicted_ids: np.ndarray) -> PairHistogram:
    """How many pixels two (H, W) maps of segment ids share, pair by pair.

    The maps are cut into runs in which neither id changes, so that whatever follows costs a
    step per run and not per pixel.

    Raises:
        ValueError: the maps differ in size.
    """
    if truth_ids.shape != predicted_ids.shape:
        raise ValueError(
            f"The prediction has the size {predicted_ids.shape}, the truth {truth_ids.shape}."
        )
    truth, predicted = truth_ids.reshape(-1), predicted_ids.reshape(-1)
    if not truth.size:
        return PairHistogram(truth, predicted, np.zeros(0, dtype=np.int64))
    changes = np.ones(truth.size, dtype=bool)
    np.not_equal(truth[1:], truth[:-1], out=changes[1:])
    changes[1:] |= predicted[1:] != predicted[:-1]
    starts = np.flatnonzero(changes)
    pixels = np.diff(starts, append=truth.size)
    return PairHistogram(truth[starts], predicted[starts], pixels)


def pair_histogram_on_device(truth_ids: np.ndarray, predicted_ids: Tensor) -> PairHistogram:
    """As :func:`pair_histogram`, where the predicted map is: only the runs leave the device.

    Raises:
        ValueError: the maps differ in size.
    """
    size = tuple(predicted_ids.shape)
    if truth_ids.shape != size:
        raise ValueError(f"The prediction has the size {size}, the truth {truth_ids.shape}.")
    predicted = predicted_ids.reshape(-1)
    truth = torch.from_numpy(truth_ids.reshape(-1)).to(predicted.device)
    changes = torch.ones_like(truth, dtype=torch.bool)
    changes[1:] = (truth[1:] != truth[:-1]) | (predicted[1:] != predicted[:-1])
    starts = changes.nonzero()[:, 0]
    pixels = torch.diff(starts, append=starts.new_full((1,), truth.numel()))
    # One transfer: the ids fit into 64 bits.
    runs = torch.stack((truth[starts].long(), predicted[starts].long(), pixels))
    return PairHistogram(*runs.cpu().numpy())


class _Side(NamedTuple):
    """The segments of one map; row 0 is void, the last row what no segment lists."""

    rows: np.ndarray  # (P,) row of each pair
    ids: list[int]  # (S,) listed ids, of rows 1 to S
    categories: np.ndarray  # (S,)


def _rows(
    ids: np.ndarray, segments: Sequence[Mapping[str, Any]], column: Mapping[int, int]
) -> _Side:
    listed = np.array([s["id"] for s in segments], dtype=np.int64)
    keys, rows = listed, np.arange(1, len(listed) + 1)
    # A prediction may list the id 0 as a segment, as in panopticapi; else it is void.
    if VOID not in listed:
        keys, rows = np.append(keys, VOID), np.append(rows, 0)
    order = np.argsort(keys)
    keys, rows = keys[order], rows[order]
    place = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
    index = np.where(keys[place] == ids, rows[place], len(listed) + 1)
    categories = np.array([column[s["category_id"]] for s in segments], dtype=np.int64)
    return _Side(index, listed.tolist(), categories)


class Overlaps(NamedTuple):
    """Areas of one image in pixels; T truth segments, S predicted ones."""

    inter: np.ndarray  # (T, S)
    truth_area: np.ndarray  # (T,)
    predicted_area: np.ndarray  # (S,)
    on_void: np.ndarray  # (S,) pixels of each prediction that the truth leaves void

    @property
    def iou(self) -> np.ndarray:
        """(T, S), void pixels of the truth left out."""
        union = self.truth_area[:, None] + (self.predicted_area - self.on_void) - self.inter
        return self.inter / np.maximum(union, 1)


class SegmentPairs(NamedTuple):
    """The segments of truth (T) and prediction (S) of one image, and how they overlap."""

    overlaps: Overlaps
    truth_categories: np.ndarray  # (T,) position of the category
    predicted_categories: np.ndarray  # (S,)
    crowd: np.ndarray  # (T,) bool


def segment_pairs(
    histogram: PairHistogram,
    truth_segments: Sequence[Mapping[str, Any]],
    predicted_segments: Sequence[Mapping[str, Any]],
    column: Mapping[int, int],
) -> SegmentPairs:
    """The overlaps of listed segments; arguments as of :func:`panoptic_counts`.

    Raises:
        ValueError: a predicted id is not listed, or listed but absent.
    """
    truth = _rows(histogram.truth_ids, truth_segments, column)
    predicted = _rows(histogram.predicted_ids, predicted_segments, column)
    pairs = _table(truth, predicted, histogram.pixels)
    _check_prediction(histogram, predicted, pairs)
    overlaps = Overlaps(
        pairs[1:-1, 1:-1], pairs[1:-1].sum(axis=1), pairs[:, 1:-1].sum(axis=0), pairs[0, 1:-1]
    )
    crowd = np.array([bool(s.get("iscrowd", 0)) for s in truth_segments], dtype=bool)
    return SegmentPairs(overlaps, truth.categories, predicted.categories, crowd)


def pixel_table(
    histogram: PairHistogram,
    truth_segments: Sequence[Mapping[str, Any]],
    predicted_segments: Sequence[Mapping[str, Any]],
    column: Mapping[int, int],
) -> np.ndarray:
    """(T + 2, S + 2) pixels of each pair: first void, then the segments, last what none lists."""
    truth = _rows(histogram.truth_ids, truth_segments, column)
    return _table(
        truth, _rows(histogram.predicted_ids, predicted_segments, column), histogram.pixels
    )


def _table(truth: _Side, predicted: _Side, pixels: np.ndarray) -> np.ndarray:
    shape = (len(truth.ids) + 2, len(predicted.ids) + 2)
    # Sums of whole numbers below 2^53 are exact in float64.
    return np.bincount(
        truth.rows * shape[1] + predicted.rows, weights=pixels, minlength=shape[0] * shape[1]
    ).reshape(shape)


def match_segments(pairs: SegmentPairs, iou: np.ndarray, num_columns: int) -> PanopticCounts:
    """Counts of the matches: pairs of one category, not crowd, with an ``iou`` (T, S) above 0.5."""
    truth, predicted = pairs.truth_categories, pairs.predicted_categories
    overlaps, crowd = pairs.overlaps, pairs.crowd
    same = truth[:, None] == predicted[None]
    iou = np.where(same & ~crowd[:, None], iou, 0.0)
    matched = iou > 0.5  # hence one-to-one
    ignored = overlaps.on_void + _on_crowd(pairs)
    wrong = ~matched.any(axis=0) & ~(ignored > 0.5 * overlaps.predicted_area)
    missed = ~matched.any(axis=1) & ~crowd
    hit_rows, hit_columns = np.nonzero(matched)
    hit_categories = truth[hit_rows]

    def count(categories: np.ndarray) -> np.ndarray:
        return np.bincount(categories, minlength=num_columns)

    return PanopticCounts(
        np.bincount(hit_categories, iou[hit_rows, hit_columns], minlength=num_columns),
        count(hit_categories),
        count(predicted[wrong]),
        count(truth[missed]),
    )


def panoptic_counts(
    truth_ids: np.ndarray,
    truth_segments: Sequence[Mapping[str, Any]],
    predicted_ids: np.ndarray,
    predicted_segments: Sequence[Mapping[str, Any]],
    column: Mapping[int, int],
) -> PanopticCounts:
    """Matches the segments of one image.

    A pair matches when its categories agree and its IoU, void pixels of the truth left out, is
    above 0.5. Crowds are never matched nor missed; an unmatched prediction that lies by more than
    half on void or on a crowd of its category is no error. Areas are counted from pixels.

    Args:
        truth_ids: (H, W) segment ids, 0 is void; ids that are not listed take part in nothing.
        truth_segments: entries with ``id``, ``category_id`` and, optionally, ``iscrowd``.
        predicted_ids: (H, W) segment ids; 0 is void unless it is listed.
        predicted_segments: entries with ``id`` and ``category_id``.
        column: category id -> position in the result.

    Raises:
        ValueError: the maps differ in size, or a predicted id is not listed, or listed but absent.
    """
    histogram = pair_histogram(truth_ids, predicted_ids)
    pairs = segment_pairs(histogram, truth_segments, predicted_segments, column)
    return match_segments(pairs, pairs.overlaps.iou, len(set(column.values())))


def _on_crowd(pairs: SegmentPairs) -> np.ndarray:
    """Pixels (S,) of each prediction on the crowd of its category.

    Of several crowds of one category in an image the last one listed counts, as in panopticapi.
    """
    on_crowd = np.zeros(len(pairs.predicted_categories))
    for row in np.flatnonzero(pairs.crowd):
        same = pairs.predicted_categories == pairs.truth_categories[row]
        on_crowd[same] = pairs.overlaps.inter[row][same]
    return on_crowd


def _check_prediction(histogram: PairHistogram, predicted: _Side, pairs: np.ndarray) -> None:
    if pairs[:, -1].any():
        unlisted = int(histogram.predicted_ids[predicted.rows == len(predicted.ids) + 1][0])
        raise ValueError(f"The predicted map holds the id {unlisted}, which no segment lists.")
    absent = np.flatnonzero(pairs[:, 1:-1].sum(axis=0) == 0)
    if absent.size:
        raise ValueError(
            f"The predicted segment {predicted.ids[absent[0]]} has no pixel in the predicted map."
        )


class OccurringCounts(NamedTuple):
    """The counts of one image: of the R categories that occur on it, some hundred bytes."""

    columns: np.ndarray  # (R,) int32
    values: np.ndarray  # (4, R) float64, in the order of PanopticCounts


def occurring_counts(counts: PanopticCounts) -> OccurringCounts:
    """What :func:`total_counts` needs of an image."""
    values = np.stack(counts).astype(np.float64)
    columns = np.flatnonzero(values.any(axis=0))
    return OccurringCounts(columns.astype(np.int32), values[:, columns])


def total_counts(counts: Sequence[OccurringCounts], num_categories: int) -> PanopticCounts:
    """The sum over images; equal to the last digit for images in the same order."""
    total = np.zeros((4, num_categories))
    if counts:
        columns = np.concatenate([image.columns for image in counts])
        values = np.concatenate([image.values for image in counts], axis=1)
        for row in range(4):
            total[row] = np.bincount(columns, values[row], minlength=num_categories)
    return PanopticCounts(total[0], *total[1:].astype(np.int64))


def counts_table(counts: Sequence[OccurringCounts], num_categories: int) -> np.ndarray:
    """(4, N, C) float64: the counts of every image, in the order of PanopticCounts."""
    table = np.zeros((4, len(counts), num_categories))
    for row, image in enumerate(counts):
        table[:, row, image.columns] = image.values
    return table


class PanopticQuality(NamedTuple):
    """In percent; NaN where no segment of the categories occurs in truth or prediction."""

    pq: np.ndarray
    sq: np.ndarray
    rq: np.ndarray


def panoptic_quality(counts: PanopticCounts) -> PanopticQuality:
    """PQ, SQ and RQ per category (C,), equations 1 and 2 of the paper."""
    hits = counts.true_positives
    occurs = hits + 0.5 * counts.false_positives + 0.5 * counts.false_negatives
    with np.errstate(invalid="ignore", divide="ignore"):
        pq = np.where(occurs > 0, 100 * counts.iou_sum / occurs, np.nan)
        rq = np.where(occurs > 0, 100 * hits / occurs, np.nan)
        sq = np.where(hits > 0, 100 * counts.iou_sum / hits, 0.0)
    return PanopticQuality(pq, np.where(occurs > 0, sq, np.nan), rq)


def mean_quality(quality: PanopticQuality, chosen: np.ndarray) -> tuple[float, float, float]:
    """Means of PQ, SQ, RQ over the ``chosen`` (C,) bool categories that occur; NaN without any."""
    chosen = chosen & ~np.isnan(quality.pq)
    if not chosen.any():
        return float("nan"), float("nan"), float("nan")
    pq, sq, rq = (float(values[chosen].mean()) for values in quality)
    return pq, sq, rq
