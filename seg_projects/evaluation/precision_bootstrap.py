"""AP of data sets drawn from the images with replacement: from matches, nothing is matched again.

Legend: D detections, K categories, T IoU thresholds, R recall thresholds, B draws, N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from seg_projects.evaluation.average_precision import (
    IOU_THRESHOLDS,
    RECALL_THRESHOLDS,
    by_score,
    outside_ranges,
    precision_kernels,
)
from seg_projects.evaluation.coco_precision import MatchedResults


class MatchedByScore(NamedTuple):
    """All that AP over all areas needs of N images."""

    images: np.ndarray  # (N,) ids
    bounds: np.ndarray  # (K + 1,) where the detections of each category begin
    image: np.ndarray  # (D,) place in ``images``, by category, then from the best score on
    hits: np.ndarray  # (D,) int64: bit t is 1 where the detection is right at threshold t
    ignored: np.ndarray  # (D,) int64: bit t is 1 where it is neither right nor wrong
    truths: np.ndarray  # (N, K) objects that count


def matched_by_score(
    matched: MatchedResults, image_ids: Sequence[int | str], num_categories: int
) -> MatchedByScore:
    """The state of AP over ``image_ids``, all images that were evaluated, in rising order."""
    images = np.array(image_ids)
    order, bounds = by_score(matched.detections, num_categories)
    bits = 1 << np.arange(len(IOU_THRESHOLDS), dtype=np.int64)
    ignored = matched.matches.ignored[order, 0]
    hits = matched.matches.matched[order, 0] & ~ignored
    truths = matched.truths
    counted = ~(truths.crowd | outside_ranges(truths.area)[:, 0])
    place = np.searchsorted(images, truths.image[counted]) * num_categories
    objects = np.bincount(
        place + truths.category[counted], minlength=len(images) * num_categories
    ).reshape(len(images), num_categories)
    place_of = np.searchsorted(images, matched.detections.image[order])
    return MatchedByScore(images, bounds, place_of, hits @ bits, ignored @ bits, objects)


def sampled_ap(matched: MatchedByScore, draws: np.ndarray) -> np.ndarray:
    """(B, T) AP in percent at each IoU threshold of each drawn data set; NaN without truths.

    Args:
        matched: the state of N images.
        draws: (B, N) how often each image was drawn.
    """
    return _sampled_ap(matched, draws, precision_kernels(len(matched.image) * len(draws) // 50))


def image_precision(matched: MatchedByScore) -> dict[int | str, dict[str, float]]:
    """AP and AP50 in percent of each image by itself, by its id; those without objects left out."""
    size = len(matched.bounds) - 1
    category = np.repeat(np.arange(size), np.diff(matched.bounds))
    by_image = np.argsort(matched.image, kind="stable")
    bounds = np.searchsorted(matched.image[by_image], np.arange(len(matched.images) + 1))
    kernels = precision_kernels(len(matched.image))
    result = {}
    with_objects = np.flatnonzero(matched.truths.any(axis=1)).tolist()
    for place in tqdm(with_objects, desc="AP of images", unit="image", disable=None, delay=2):
        rows = by_image[bounds[place] : bounds[place + 1]]
        one = MatchedByScore(
            matched.images[place : place + 1],
            np.searchsorted(category[rows], np.arange(size + 1)),
            np.zeros(len(rows), dtype=np.int64),
            matched.hits[rows],
            matched.ignored[rows],
            matched.truths[place : place + 1],
        )
        values = _sampled_ap(one, np.ones((1, 1)), kernels)[0]
        result[matched.images[place].item()] = {"AP": values.mean(), "AP50": values[0]}
    return result


def _sampled_ap(
    matched: MatchedByScore, draws: np.ndarray, kernels: ModuleType | None
) -> np.ndarray:
    totals = draws @ matched.truths.astype(np.float64)
    if kernels is not None:
        state = (matched.bounds, matched.image, matched.hits, matched.ignored)
        thresholds = len(IOU_THRESHOLDS)
        return 100 * kernels.sampled_precision(
            *state, totals, np.ascontiguousarray(draws), RECALL_THRESHOLDS, thresholds
        )
    sums = np.zeros((len(draws), len(IOU_THRESHOLDS)))
    for category in np.flatnonzero(totals.any(axis=0)):
        part = slice(matched.bounds[category], matched.bounds[category + 1])
        weights = draws[:, matched.image[part]]  # (B, D of the category)
        seen = np.cumsum(weights, axis=1)
        for t in range(len(IOU_THRESHOLDS)):
            ignored = np.flatnonzero(matched.ignored[part] >> t & 1)
            rows = np.flatnonzero((matched.hits[part] & ~matched.ignored[part]) >> t & 1)
            left_out = np.cumsum(weights[:, ignored], axis=1)
            left_out = np.pad(left_out, ((0, 0), (1, 0)))[:, np.searchsorted(ignored, rows)]
            right = np.cumsum(weights[:, rows], axis=1)
            precision = right / (seen[:, rows] - left_out + np.spacing(1))
            sums[:, t] += _mean_precision(right, precision, totals[:, category])
    occurring = (totals > 0).sum(axis=1)[:, None]
    return 100 * np.divide(sums, occurring, out=np.full(sums.shape, np.nan), where=occurring > 0)


def _mean_precision(right: np.ndarray, precision: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """(B,) mean over recalls of the best precision at each or beyond.

    Args:
        right: (B, H) hits up to each hit.
        precision: (B, H) at each hit.
        totals: (B,) truths; without any the mean is 0.
    """
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    best = np.pad(best, ((0, 0), (0, 1)))  # 0 where a recall is not reached
    result = np.zeros(len(totals))
    for b in np.flatnonzero(totals):
        needed = np.searchsorted(right[b] / totals[b], RECALL_THRESHOLDS, side="left")
        result[b] = best[b, needed].mean()
    return result
