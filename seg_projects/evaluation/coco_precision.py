"""AP and AR of COCO annotations and results, as pycocotools defines them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np

from seg_projects.evaluation.average_precision import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    Detections,
    Matches,
    Pairs,
    Precision,
    Truths,
    box_pairs,
    mask_pairs,
    match_detections,
    outside_ranges,
    partners,
    precision_kernels,
    precision_recall,
    rank_detections,
)
from seg_projects.evaluation.scores import Scores

Task = Literal["bbox", "segm"]


class MatchedResults(NamedTuple):
    """Detections within the limit per image and category, and what became of them.

    They are in the order of category, image and score.
    """

    truths: Truths
    detections: Detections
    rank: np.ndarray  # (D,)
    pairs: Pairs
    matches: Matches
    beyond_limit: int  # detections left out


def match_results(
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    category_ids: Sequence[int],
    task: Task,
    max_detections: int = 100,
    *,
    boundary_share: float = 0.0,
) -> MatchedResults:
    """Matches COCO ``results`` with ``annotations``; both stay as they are.

    Args:
        annotations: entries with ``image_id``, ``category_id``, ``area``, ``bbox`` (x, y, width,
            height in pixels), ``iscrowd`` and, for masks, ``segmentation`` as compressed RLE.
        results: entries with ``image_id``, ``category_id``, ``score`` and ``bbox`` or
            ``segmentation``.
        category_ids: the categories that are judged, in the order of the result.
        task: what is compared.
        max_detections: so many of an image and category count, those of the best scores.
        boundary_share: of masks, the smaller of mask IoU and boundary IoU counts, boundaries
            reaching so far from a contour as a share of the image's diagonal; 0: mask IoU alone.
    """
    columns = {category: i for i, category in enumerate(category_ids)}
    annotations = [a for a in annotations if a["category_id"] in columns]
    results = [r for r in results if r["category_id"] in columns]
    truths = Truths(
        *_keys(annotations, columns),
        np.array([a["area"] for a in annotations], dtype=np.float64),
        np.array([bool(a.get("iscrowd", 0)) for a in annotations], dtype=bool),
    )
    scores = np.array([r["score"] for r in results], dtype=np.float64)
    detections = Detections(*_keys(results, columns), np.zeros(len(results)), scores)
    order, rank = rank_detections(detections)
    kept, rank = order[rank < max_detections], rank[rank < max_detections]
    detections = Detections(*(part[kept] for part in detections))
    overlapping = _overlapping_boxes if task == "bbox" else _overlapping_masks
    pairs, area = overlapping(truths, annotations, detections, results, kept)
    detections = detections._replace(area=area)
    if boundary_share:
        from seg_projects.evaluation.mask_boundaries import boundary_pairs

        masks = _masks(annotations, results, kept)
        pairs = boundary_pairs(pairs, truths, masks[0], masks[1], boundary_share)
    kernels = precision_kernels(len(kept))
    matches = match_detections(truths, detections, pairs, rank, kernels=kernels)
    beyond = len(order) - len(kept)
    return MatchedResults(truths, detections, rank, pairs, matches, beyond)


def _keys(
    entries: Sequence[Mapping[str, Any]], columns: Mapping[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) image ids and (N,) positions of the categories."""
    # Numbers, or names as in Cityscapes.
    images = np.array([entry["image_id"] for entry in entries] or np.zeros(0, dtype=np.int64))
    categories = [columns[entry["category_id"]] for entry in entries]
    return images, np.array(categories, dtype=np.int64)


def _boxes(entries: Sequence[Mapping[str, Any]]) -> np.ndarray:
    sides = chain.from_iterable([entry["bbox"] for entry in entries])
    return np.fromiter(sides, dtype=np.float64, count=4 * len(entries)).reshape(-1, 4)


def _masks(
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    kept: np.ndarray,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The masks of the annotations and of the results ``kept`` (D,)."""
    truth = [entry["segmentation"] for entry in annotations]
    return truth, [results[place]["segmentation"] for place in kept.tolist()]


def _overlapping_boxes(
    truths: Truths,
    annotations: Sequence[Mapping[str, Any]],
    detections: Detections,
    results: Sequence[Mapping[str, Any]],
    kept: np.ndarray,
) -> tuple[Pairs, np.ndarray]:
    """The pairs, and (D,) areas in pixels, of the boxes of the results ``kept`` (D,)."""
    # Read in their order in memory, which is several times faster.
    boxes, find = _boxes(results)[kept], box_pairs
    if precision_kernels(len(kept)) is not None:
        from seg_projects.evaluation.compiled_overlaps import overlapping_boxes as find
    pairs = find(truths, _boxes(annotations), detections, boxes)
    return pairs, boxes[:, 2] * boxes[:, 3]


def _overlapping_masks(
    truths: Truths,
    annotations: Sequence[Mapping[str, Any]],
    detections: Detections,
    results: Sequence[Mapping[str, Any]],
    kept: np.ndarray,
) -> tuple[Pairs, np.ndarray]:
    """The pairs, and (D,) areas in pixels, of the masks of the results ``kept`` (D,)."""
    if precision_kernels(len(kept)) is not None:
        from seg_projects.evaluation.compiled_overlaps import overlapping_masks

        # In their order in memory, which is several times faster.
        sides = _masks(annotations, results, np.arange(len(results)))
        return overlapping_masks(truths, sides[0], detections, sides[1], kept)
    sides = _masks(annotations, results, kept)
    from pycocotools import mask as coco_mask

    # In pieces: pycocotools overflows on lists of more than 255 masks.
    pieces = [coco_mask.area(sides[1][i : i + 200]) for i in range(0, len(kept), 200)]
    area = np.concatenate([np.zeros(0), *pieces]).astype(np.float64)
    return mask_pairs(truths, sides[0], detections, sides[1]), area


def precision_scores(
    matched: MatchedResults, names: Sequence[str], max_detections: int = 100
) -> Scores:
    """AP and AR in percent, of all and by area range; ``AR1`` from one detection per image.

    Undefined numbers, which pycocotools gives as -1, are NaN; notes say why.
    """
    curves = precision_recall(
        matched.truths,
        matched.detections,
        matched.matches,
        len(names),
        kernels=precision_kernels(len(matched.rank)),
    )
    summary = {
        "AP": _mean(curves.precision[:, 0]),
        "AP50": _mean(curves.precision[:, 0, _threshold(0.5)]),
        "AP75": _mean(curves.precision[:, 0, _threshold(0.75)]),
    }
    ranges = list(AREA_RANGES)
    for place, key in enumerate(ranges[1:], start=1):
        summary[f"AP{key}"] = _mean(curves.precision[:, place])
    limits = sorted({1, 10, max_detections})
    for limit, recall in _recall_within(matched, curves, limits).items():
        summary[f"AR{limit}"] = _mean(recall)
    for place, key in enumerate(ranges[1:], start=1):
        summary[f"AR{key}"] = _mean(curves.recall[:, place])
    # A category is undefined at all recalls and thresholds or at none.
    columns = {
        "AP": 100 * curves.precision[:, 0].mean(axis=(1, 2)),
        "AP50": 100 * curves.precision[:, 0, _threshold(0.5)].mean(axis=1),
        "AP75": 100 * curves.precision[:, 0, _threshold(0.75)].mean(axis=1),
        f"AR{max_detections}": 100 * curves.recall[:, 0].mean(axis=1),
        "truths": curves.truths[:, 0],
        "predictions": np.bincount(matched.detections.category, minlength=len(names)),
        **where_predictions_fell(matched, len(names)),
    }
    per_category = {
        name: {key: float(values[row]) for key, values in columns.items()}
        for row, name in enumerate(names)
    }
    notes = explain(matched, curves, max_detections)
    return Scores(summary=summary, per_category=per_category, notes=notes)


def _threshold(iou: float) -> int:
    return int(np.argmin(np.abs(IOU_THRESHOLDS - iou)))


def _recall_within(
    matched: MatchedResults, curves: Precision, limits: Sequence[int]
) -> dict[int, np.ndarray]:
    """(K, T) recall, areas of all sizes, by the first detections of image and category, by limit.

    Matching is greedy: what the first ones take does not depend on those that follow.
    """
    shape = (len(curves.truths), len(IOU_THRESHOLDS))
    right = matched.matches.matched[:, 0] & ~matched.matches.ignored[:, 0]
    row, threshold = np.nonzero(right)
    place = matched.detections.category[row] * shape[1] + threshold
    rank, total = matched.rank[row], curves.truths[:, :1]
    recalls = {}
    for limit in limits:
        hits = np.bincount(place[rank < limit], minlength=shape[0] * shape[1]).reshape(shape)
        recalls[limit] = np.divide(hits, total, out=np.full(shape, np.nan), where=total > 0)
    return recalls


def _mean(values: np.ndarray) -> float:
    """Over what is defined, in percent."""
    defined = values[~np.isnan(values)]
    return float(100 * defined.mean()) if defined.size else float("nan")


def where_predictions_fell(matched: MatchedResults, num_categories: int) -> dict[str, np.ndarray]:
    """(K,) predictions within the limit by what they met at IoU 0.5, areas of all sizes.

    ``right``; ``ignored``, on a crowd; ``taken``, on an object that a better score or a larger
    overlap took; ``elsewhere``, on no object of their category.
    """
    matches = matched.matches
    ignored = matches.ignored[:, 0, _threshold(0.5)]
    right = matches.matched[:, 0, _threshold(0.5)] & ~ignored
    near = np.zeros(len(ignored), dtype=bool)
    near[matched.pairs.detection] = True
    kinds = {
        "right": right,
        "ignored": ignored,
        "taken": near & ~right & ~ignored,
        "elsewhere": ~near & ~ignored,
    }
    category = matched.detections.category
    return {
        name: np.bincount(category[chosen], minlength=num_categories)
        for name, chosen in kinds.items()
    }


def explain(matched: MatchedResults, curves: Precision, max_detections: int) -> list[str]:
    """Why numbers are undefined or 0: how many predictions fell where."""
    notes = []
    detections, truths = matched.detections, matched.truths
    total = len(detections.score)
    predicted_in_range = (~outside_ranges(detections.area)).sum(axis=0)
    if not curves.truths[:, 0].any():
        on_crowds = matched.matches.ignored[:, 0, _threshold(0.5)].sum()
        notes.append(
            "Every AP is undefined (NaN; pycocotools prints -1): the truth has no object that is "
            f"not a crowd; {on_crowds} of {total} predictions lie on crowds."
        )
    for place, key in enumerate(AREA_RANGES):
        if curves.truths[:, 0].any() and not curves.truths[:, place].any():
            notes.append(
                f"AP{key} is undefined (NaN; pycocotools prints -1): the truth has no object of "
                f"the area range {key!r} that is not a crowd; {predicted_in_range[place]} of "
                f"{total} predictions are of that size."
            )
    if matched.beyond_limit:
        notes.append(
            f"{matched.beyond_limit} predictions are beyond the first {max_detections} of their "
            "image and category and do not count."
        )
    right = matched.matches.matched[:, 0, 0] & ~matched.matches.ignored[:, 0, 0]
    if curves.truths[:, 0].any() and not right.any():
        notes.append(_explain_zero(truths, detections, matched.pairs))
    return notes


def _explain_zero(truths: Truths, detections: Detections, pairs: Pairs) -> str:
    total = len(detections.score)
    if not total:
        return (
            "AP is 0: nothing was predicted. Scores below the threshold of the model are not "
            "predicted (MODEL.ROI_HEADS.SCORE_THRESH_TEST); training longer usually helps."
        )
    images = np.isin(detections.image, truths.image)
    same = partners(truths, detections).number > 0
    near = np.zeros(total, dtype=bool)
    near[pairs.detection] = True
    return (
        f"AP is 0: of {total} predictions, {(~images).sum()} fell on images without objects, "
        f"{(images & ~same).sum()} on images without an object of their category, "
        f"{(same & ~near).sum()} overlap every object of their category by an IoU below 0.5, "
        f"{near.sum()} lie on crowds or objects that others took. Their scores lie between "
        f"{detections.score.min():.3f} and {detections.score.max():.3f}, half of them above "
        f"{np.median(detections.score):.3f}."
    )
