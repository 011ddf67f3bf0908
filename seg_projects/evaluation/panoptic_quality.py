"""Panoptic quality on arrays: exactly panopticapi's definition (arXiv:1801.00868, section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

VOID = 0


class PanopticCounts(NamedTuple):
    """Per category (C,): the whole state of PQ. Counts of several images add up."""

    iou_sum: np.ndarray
    true_positives: np.ndarray
    false_positives: np.ndarray
    false_negatives: np.ndarray


class _Side(NamedTuple):
    """The segments of one map; row 0 is void, the last row what no segment lists."""

    row_of_pixel: np.ndarray  # (H * W,)
    ids: list[int]  # (S,) listed ids, of rows 1 to S
    categories: np.ndarray  # (S,)


def _rows(
    ids: np.ndarray, segments: Sequence[Mapping[str, Any]], column: Mapping[int, int]
) -> _Side:
    listed = np.array([s["id"] for s in segments], dtype=np.int64)
    flat = ids.reshape(-1)
    keys = np.append(listed, VOID)
    rows = np.append(np.arange(1, len(listed) + 1), 0)
    order = np.argsort(keys)
    keys, rows = keys[order], rows[order]
    place = np.minimum(np.searchsorted(keys, flat), len(keys) - 1)
    index = np.where(keys[place] == flat, rows[place], len(listed) + 1)
    categories = np.array([column[s["category_id"]] for s in segments], dtype=np.int64)
    return _Side(index, listed.tolist(), categories)


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
        predicted_ids: (H, W) segment ids, 0 is void.
        predicted_segments: entries with ``id`` and ``category_id``.
        column: category id -> position in the result.

    Raises:
        ValueError: the maps differ in size, or a predicted id is not listed, or listed but absent.
    """
    if truth_ids.shape != predicted_ids.shape:
        raise ValueError(
            f"The prediction has the size {predicted_ids.shape}, the truth {truth_ids.shape}."
        )
    truth = _rows(truth_ids, truth_segments, column)
    predicted = _rows(predicted_ids, predicted_segments, column)
    num_truth, num_predicted = len(truth.ids), len(predicted.ids)
    pairs = np.bincount(
        truth.row_of_pixel * (num_predicted + 2) + predicted.row_of_pixel,
        minlength=(num_truth + 2) * (num_predicted + 2),
    ).reshape(num_truth + 2, num_predicted + 2)
    _check_prediction(predicted_ids, predicted, pairs)
    crowd = np.array([bool(s.get("iscrowd", 0)) for s in truth_segments], dtype=bool)

    inter = pairs[1:-1, 1:-1].astype(np.float64)
    truth_area = pairs[1:-1].sum(axis=1)
    predicted_area = pairs[:, 1:-1].sum(axis=0)
    on_void = pairs[0, 1:-1]
    union = truth_area[:, None] + predicted_area[None] - inter - on_void[None]
    same = truth.categories[:, None] == predicted.categories[None]
    iou = np.where(same & ~crowd[:, None], inter / np.maximum(union, 1), 0.0)
    matched = iou > 0.5  # hence one-to-one

    num_columns = len(set(column.values()))
    ignored = on_void + _on_crowd(truth, predicted, pairs, crowd)
    wrong = ~matched.any(axis=0) & ~(ignored > 0.5 * predicted_area)
    missed = ~matched.any(axis=1) & ~crowd
    hit_rows, hit_columns = np.nonzero(matched)
    hit_categories = truth.categories[hit_rows]

    def count(categories: np.ndarray) -> np.ndarray:
        return np.bincount(categories, minlength=num_columns)

    return PanopticCounts(
        np.bincount(hit_categories, iou[hit_rows, hit_columns], minlength=num_columns),
        count(hit_categories),
        count(predicted.categories[wrong]),
        count(truth.categories[missed]),
    )


def _on_crowd(truth: _Side, predicted: _Side, pairs: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Pixels (S_predicted,) of each prediction on the crowd of its category.

    Of several crowds of one category in an image the last one listed counts, as in panopticapi.
    """
    on_crowd = np.zeros(len(predicted.ids), dtype=np.int64)
    for row in np.flatnonzero(crowd):
        same = predicted.categories == truth.categories[row]
        on_crowd[same] = pairs[row + 1, 1:-1][same]
    return on_crowd


def _check_prediction(ids: np.ndarray, predicted: _Side, pairs: np.ndarray) -> None:
    if pairs[:, -1].any():
        unlisted = int(ids.reshape(-1)[predicted.row_of_pixel == len(predicted.ids) + 1][0])
        raise ValueError(f"The predicted map holds the id {unlisted}, which no segment lists.")
    absent = np.flatnonzero(pairs[:, 1:-1].sum(axis=0) == 0)
    if absent.size:
        raise ValueError(
            f"The predicted segment {predicted.ids[absent[0]]} has no pixel in the predicted map."
        )


def add_counts(first: PanopticCounts, second: PanopticCounts) -> PanopticCounts:
    """The counts of both."""
    return PanopticCounts(*(a + b for a, b in zip(first, second, strict=True)))


def empty_counts(num_categories: int) -> PanopticCounts:
    """The counts of no image."""
    zeros = np.zeros(num_categories, dtype=np.int64)
    return PanopticCounts(np.zeros(num_categories), zeros, zeros, zeros)


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
