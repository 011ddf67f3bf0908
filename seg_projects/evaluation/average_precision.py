"""Average precision on flat arrays, number by number that of pycocotools.

Legend: D detections, G truths, P pairs of a detection with a truth of its image and category,
T IoU thresholds, A area ranges, R recall thresholds, K categories.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALL_THRESHOLDS = np.linspace(0, 1, 101)
# Pixels; both ends belong to the range.
AREA_RANGES = {"all": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


# Fewer detections take less time than the compiled code takes to load.
KERNELS_FROM = 20_000


def precision_kernels(num_detections: int) -> ModuleType | None:
    """The compiled loops; None without numba, or where so few detections do not need them."""
    if num_detections < KERNELS_FROM or find_spec("numba") is None:
        return None
    from seg_projects.evaluation import precision_kernels as kernels

    return kernels


class Truths(NamedTuple):
    """The annotated objects, in any order."""

    image: np.ndarray  # (G,) int64
    category: np.ndarray  # (G,) int64 in [0, K)
    area: np.ndarray  # (G,) pixels
    crowd: np.ndarray  # (G,) bool


class Detections(NamedTuple):
    """The detections; of equal scores the earlier one comes first."""

    image: np.ndarray  # (D,) int64
    category: np.ndarray  # (D,) int64 in [0, K)
    area: np.ndarray  # (D,) pixels
    score: np.ndarray  # (D,)


class Pairs(NamedTuple):
    """The pairs worth a look: those whose IoU reaches the lowest threshold."""

    detection: np.ndarray  # (P,) index
    truth: np.ndarray  # (P,) index
    iou: np.ndarray  # (P,), for a crowd the share of the detection that lies on it


class Matches(NamedTuple):
    """What became of each detection, for all thresholds and area ranges at once."""

    matched: np.ndarray  # (D, A, T) bool
    ignored: np.ndarray  # (D, A, T) bool: neither right nor wrong


class Precision(NamedTuple):
    """As fractions; NaN where the truth has no object of the category and area range."""

    precision: np.ndarray  # (K, A, T, R), the largest at that recall or a higher one
    recall: np.ndarray  # (K, A, T)
    truths: np.ndarray  # (K, A) objects that count


def rank_detections(detections: Detections) -> tuple[np.ndarray, np.ndarray]:
    """(D,) detections by category, image and score, and (D,) the place of each, the best is 0.

    The place is that in image and category.
    """
    order = np.lexsort((-detections.score, detections.image, detections.category))
    starts = _starts(detections.image[order], detections.category[order])
    place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    return order, place


def _starts(*keys: np.ndarray) -> np.ndarray:
    """Where runs of equal keys begin."""
    if not len(keys[0]):
        return np.zeros(0, dtype=np.int64)
    changes = np.zeros(len(keys[0]) - 1, dtype=bool)
    for key in keys:
        changes |= key[1:] != key[:-1]
    return np.concatenate(([0], np.flatnonzero(changes) + 1))


def outside_ranges(area: np.ndarray) -> np.ndarray:
    """(N, A) bool: the area (N,) lies outside each of ``AREA_RANGES``."""
    ranges = np.array(list(AREA_RANGES.values()))
    return (area[:, None] < ranges[:, 0]) | (area[:, None] > ranges[:, 1])


def match_detections(
    truths: Truths,
    detections: Detections,
    pairs: Pairs,
    rank: np.ndarray,
    *,
    kernels: ModuleType | None = None,
) -> Matches:
    """Greedy matching: detections choose in the order of their scores.

    Each takes the truth of the largest IoU that is still free, a crowd always being so; ignored
    truths (crowds and those outside the area range) only where no other is left, of equal IoUs the
    truth that is listed last. What took an ignored truth is ignored, and so is what took none and
    lies outside the area range itself.

    Args:
        truths: the objects.
        detections: the detections.
        pairs: all pairs of one image and category whose IoU reaches the lowest threshold.
        rank: (D,) place by score in image and category.
        kernels: the compiled loops, None for arrays alone; the result is the same.
    """
    shape = (len(AREA_RANGES), len(IOU_THRESHOLDS))
    ignored_truth = outside_ranges(truths.area) | truths.crowd[:, None]  # (G, A)
    matched = np.zeros((len(detections.score), *shape), dtype=bool)
    ignored = np.zeros_like(matched)
    free = np.ones((len(truths.area), *shape), dtype=bool)
    # Pairs of one detection side by side, what it prefers last.
    order = np.lexsort((pairs.truth, pairs.iou, pairs.detection, rank[pairs.detection]))
    pairs = Pairs(*(part[order] for part in pairs))
    state = (ignored_truth, free, matched, ignored)
    if kernels is not None:
        # pycocotools' own bound, for IoUs of exactly 1.
        reached = np.searchsorted(np.minimum(IOU_THRESHOLDS, 1 - 1e-10), pairs.iou, side="right")
        kernels.match_pairs(pairs.detection, pairs.truth, reached, truths.crowd, *state)
    else:
        _match_in_rounds(pairs, rank, truths.crowd, *state)
    ignored |= ~matched & outside_ranges(detections.area)[:, :, None]
    return Matches(matched, ignored)


def _match_in_rounds(
    pairs: Pairs,
    rank: np.ndarray,
    crowd: np.ndarray,
    ignored_truth: np.ndarray,
    free: np.ndarray,
    matched: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Matches sorted pairs; writes into ``free``, ``matched``, ``ignored``."""
    # Detections of one rank belong to different images or categories: they cannot compete.
    bounds = np.append(_starts(rank[pairs.detection]), len(pairs.iou)).astype(np.int64)
    for start, end in pairwise(bounds):
        part = Pairs(*(part[start:end] for part in pairs))
        _match_round(part, crowd, ignored_truth, free, matched, ignored)


def _match_round(
    pairs: Pairs,
    crowd: np.ndarray,
    ignored_truth: np.ndarray,
    free: np.ndarray,
    matched: np.ndarray,
    ignored: np.ndarray,
) -> None:
    """Matches detections that do not compete; writes into ``free``, ``matched``, ``ignored``."""
    count = len(pairs.iou)
    # pycocotools' own bound, for IoUs of exactly 1.
    reached = pairs.iou[:, None] >= np.minimum(IOU_THRESHOLDS, 1 - 1e-10)  # (P, T)
    possible = free[pairs.truth] & reached[:, None]
    place = np.arange(1, count + 1, dtype=np.int32)[:, None]
    preference = place + np.where(ignored_truth[pairs.truth], 0, count)  # (P, A)
    keys = np.where(possible, preference[:, :, None], 0)
    starts = _starts(pairs.detection)
    best = np.maximum.reduceat(keys, starts, axis=0)
    row, area, threshold = np.nonzero(best)
    chosen = (best[row, area, threshold] - 1) % count
    truth = pairs.truth[chosen]
    detection = pairs.detection[starts[row]]
    matched[detection, area, threshold] = True
    ignored[detection, area, threshold] = ignored_truth[truth, area]
    free[truth, area, threshold] = crowd[truth]


def precision_recall(
    truths: Truths,
    detections: Detections,
    matches: Matches,
    num_categories: int,
    *,
    kernels: ModuleType | None = None,
) -> Precision:
    """Precision at 101 recalls, and the recall reached.

    Args:
        truths: the objects.
        detections: the detections, in the order of :func:`rank_detections`.
        matches: what became of them.
        num_categories: K.
        kernels: the compiled loops, None for arrays alone; the result is the same.
    """
    totals = count_truths(truths, num_categories)
    order, bounds = by_score(detections, num_categories)
    if kernels is not None and totals.any():
        precision, hits = kernels.interpolated_precision(
            bounds, order, matches.matched, matches.ignored, totals, RECALL_THRESHOLDS
        )
    else:
        precision, hits = _interpolated_precision(bounds, order, matches, totals)
    total = np.broadcast_to(totals[:, :, None], hits.shape)
    recall = np.divide(hits, total, out=np.full(hits.shape, np.nan), where=total > 0)
    return Precision(precision, recall, totals)


def count_truths(truths: Truths, num_categories: int) -> np.ndarray:
    """(K, A) truths of each category and area range that are no crowd."""
    counted = ~(outside_ranges(truths.area) | truths.crowd[:, None])
    columns = [
        np.bincount(truths.category[counts], minlength=num_categories) for counts in counted.T
    ]
    return np.stack(columns, axis=1)


def by_score(detections: Detections, num_categories: int) -> tuple[np.ndarray, np.ndarray]:
    """(D,) detections by category, then from the best score on; (K + 1,) where each begins.

    Those of equal scores stay in their order, that of :func:`rank_detections`.
    """
    order = np.lexsort((-detections.score, detections.category))
    return order, np.searchsorted(detections.category[order], np.arange(num_categories + 1))


def _interpolated_precision(
    bounds: np.ndarray, order: np.ndarray, matches: Matches, totals: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(K, A, T, R) precision and (K, A, T) hits, as the kernel of this name gives them."""
    shape = (*totals.shape, len(IOU_THRESHOLDS))
    precision = np.full((*shape, len(RECALL_THRESHOLDS)), np.nan)
    number = np.zeros(shape, dtype=np.int64)
    present = np.flatnonzero(totals.any(axis=1))
    for category in tqdm(present, desc="AP", unit="category", disable=None, delay=2):
        rows = order[bounds[category] : bounds[category + 1]]
        counts = ~matches.ignored[rows]
        right, wrong = matches.matched[rows] & counts, ~matches.matched[rows] & counts
        false = np.cumsum(wrong, axis=0, dtype=np.int32)
        for area in np.flatnonzero(totals[category]):
            for threshold in range(shape[2]):
                hits = np.flatnonzero(right[:, area, threshold])
                precision[category, area, threshold] = _interpolate(
                    false[hits, area, threshold], totals[category, area]
                )
                number[category, area, threshold] = len(hits)
    return precision, number


def _interpolate(false_before: np.ndarray, total: int) -> np.ndarray:
    """(R,) the largest precision at each recall or beyond, 0 where it is not reached.

    Precision grows at hits alone, so nothing but the number of errors before each is needed.

    Args:
        false_before: (H,) errors before each hit.
        total: objects in the truth.
    """
    hits = np.arange(1, len(false_before) + 1, dtype=np.float64)
    # Summed in pycocotools' order: the last digit depends on it.
    precision = hits / (false_before + hits + np.spacing(1))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    needed = np.searchsorted(hits / total, RECALL_THRESHOLDS, side="left")
    result = np.zeros(len(RECALL_THRESHOLDS))
    reached = needed < len(hits)
    result[reached] = precision[needed[reached]]
    return result


def box_pairs(
    truths: Truths, truth_boxes: np.ndarray, detections: Detections, boxes: np.ndarray
) -> Pairs:
    """Pairs by the IoU of boxes.

    Args:
        truths: the objects.
        truth_boxes: (G, 4) float64 x, y, width, height in pixels.
        detections: the detections.
        boxes: (D, 4) likewise.
    """
    parts = []
    pieces = _candidate_pairs(truths, detections)
    for detection, truth in tqdm(pieces, desc="box IoU", unit="piece", disable=None, delay=2):
        iou = _box_iou(boxes[detection], truth_boxes[truth], truths.crowd[truth])
        keep = iou >= IOU_THRESHOLDS[0]
        parts.append(Pairs(detection[keep], truth[keep], iou[keep]))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Partners(NamedTuple):
    """The truths of the image and category of each detection, without a list of pairs."""

    order: np.ndarray  # (G,) truths, those of one image and category side by side
    first: np.ndarray  # (D,) where those of a detection begin in ``order``
    number: np.ndarray  # (D,) how many they are


def partners(truths: Truths, detections: Detections) -> Partners:
    """Which truths each detection could match."""
    images = np.unique(np.concatenate((truths.image, detections.image)), return_inverse=True)[1]
    size = int(images.max(initial=0)) + 1
    truth_key = truths.category * size + images[: len(truths.image)]
    detection_key = detections.category * size + images[len(truths.image) :]
    order = np.argsort(truth_key, kind="stable")
    first = np.searchsorted(truth_key[order], detection_key, side="left")
    number = np.searchsorted(truth_key[order], detection_key, side="right") - first
    return Partners(order, first, number)


def _candidate_pairs(
    truths: Truths, detections: Detections, chunk: int = 1 << 20
) -> list[tuple[np.ndarray, np.ndarray]]:
    """All pairs of one image and category, in pieces of about ``chunk`` pairs."""
    order, first, number = partners(truths, detections)
    ends = np.cumsum(number)
    total = int(ends[-1]) if len(ends) else 0
    pieces = []
    for start in range(0, max(total, 1), chunk):
        low, high = np.searchsorted(ends, (start, start + chunk), side="right")
        rows = np.arange(low, high if start + chunk < total else len(ends))
        detection = np.repeat(rows, number[rows])
        begins = np.cumsum(number[rows]) - number[rows]
        offset = np.arange(len(detection)) - np.repeat(begins, number[rows])
        pieces.append((detection, order[first[detection] + offset]))
    return pieces


def _box_iou(boxes: np.ndarray, truth: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """(P,) IoU of boxes x, y, width, height; for crowds the share of the box (P, 4) inside."""
    sides = np.minimum(boxes[:, :2] + boxes[:, 2:], truth[:, :2] + truth[:, 2:])
    sides -= np.maximum(boxes[:, :2], truth[:, :2])
    inter = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    area, truth_area = boxes[:, 2] * boxes[:, 3], truth[:, 2] * truth[:, 3]
    union = np.where(crowd, area, area + truth_area - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=inter > 0)


def mask_pairs(
    truths: Truths, truth_masks: Sequence[Any], detections: Detections, masks: Sequence[Any]
) -> Pairs:
    """Pairs by the IoU of masks, compressed COCO RLEs; arguments as of :func:`box_pairs`."""
    from pycocotools import mask as coco_mask

    parts = []
    groups = list(_groups(truths, detections))
    for rows, columns in tqdm(groups, desc="mask IoU", unit="group", disable=None, delay=2):
        iou = coco_mask.iou(
            [masks[row] for row in rows],
            [truth_masks[column] for column in columns],
            truths.crowd[columns].astype(np.uint8).tolist(),
        )
        row, column = np.nonzero(iou >= IOU_THRESHOLDS[0])
        parts.append(Pairs(rows[row], columns[column], iou[row, column]))
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Pairs(nothing, nothing, np.zeros(0))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _groups(truths: Truths, detections: Detections) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(detections, truths) of every image and category that has both."""
    by_key: dict[tuple[int, int], tuple[list[int], list[int]]] = {}
    sides = ((detections.image, detections.category), (truths.image, truths.category))
    for side, (image, category) in enumerate(sides):
        keys = zip(image.tolist(), category.tolist(), strict=True)
        for row, key in enumerate(keys):
            by_key.setdefault(key, ([], []))[side].append(row)
    for rows, columns in by_key.values():
        # In pieces, since pycocotools counts masks of one call in 8 bits in places.
        for start in range(0, len(rows) if columns else 0, 200):
            yield np.array(rows[start : start + 200]), np.array(columns)
