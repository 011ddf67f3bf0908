"""AP against an implementation that follows the definition detection by detection."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from seg_projects.evaluation.coco_precision import Task, match_results, precision_scores

SIZE = 12
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
Mask = np.ndarray

# x, y, width, height: empty, one pixel, and few places, so that IoUs tie.
boxes = st.tuples(
    st.sampled_from([0, 1, 6]),
    st.sampled_from([0, 1, 6]),
    st.sampled_from([0, 1, 4, 5]),
    st.sampled_from([1, 4, 5]),
)
places = st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2]), boxes)
truth_lists = st.lists(st.tuples(places, st.sampled_from([0, 0, 1])), max_size=7)
result_lists = st.lists(st.tuples(places, st.sampled_from([0.2, 0.5, 0.5, 0.9])), max_size=8)


def _mask(box: tuple[int, int, int, int]) -> Mask:
    x, y, width, height = box
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[y : y + height, x : x + width] = True
    return mask


def _iou(found: Mask, truth: Mask, crowd: int, distance: int = 0) -> float:
    """Of a crowd the share of the detection that lies on it.

    With a ``distance``, of other objects the smaller of this and the IoU of the boundaries.
    """
    whole = found.sum() if crowd else (found | truth).sum()
    iou = (found & truth).sum() / whole if whole else 0.0
    if not distance or crowd:
        return iou
    return min(iou, _iou(_boundary(found, distance), _boundary(truth, distance), 0))


def _boundary(mask: Mask, distance: int) -> Mask:
    """The pixels around which a square leaves the mask or the image."""
    padded, result = np.pad(mask, distance), mask.copy()
    for y, x in np.argwhere(mask):
        result[y, x] = not padded[y : y + 2 * distance + 1, x : x + 2 * distance + 1].all()
    return result


def _judge_image(
    truth: list[tuple[Mask, int]],
    found: list[tuple[Mask, float]],
    threshold: float,
    distance: int,
) -> list[tuple[float, str]]:
    """(score, "right", "wrong" or "ignored") of each detection, from the best score on."""
    taken: set[int] = set()
    verdicts = []
    for mask, score in sorted(found, key=lambda entry: -entry[1]):
        verdict = "wrong"
        for crowds in (0, 1):
            near = [
                (_iou(mask, other, crowd, distance), place)
                for place, (other, crowd) in enumerate(truth)
                if crowd == crowds and place not in taken
            ]
            # Of equal overlaps the object that is listed last.
            best = max(near, default=(0.0, -1))
            if best[0] >= threshold:
                verdict = "ignored" if crowds else "right"
                if not crowds:
                    taken.add(best[1])
                break
        verdicts.append((score, verdict))
    return verdicts


def _average_precision(verdicts: list[tuple[float, str]], objects: int) -> float:
    """Mean over 101 recalls of the best precision at that recall or a higher one."""
    ranked = [v for _, v in sorted(verdicts, key=lambda entry: -entry[0]) if v != "ignored"]
    points = [
        (ranked[:n].count("right") / objects, ranked[:n].count("right") / n)
        for n in range(1, len(ranked) + 1)
    ]
    return float(np.mean([max((p for r, p in points if r >= at), default=0.0) for at in RECALLS]))


def _slow_ap(truth: list[Any], found: list[Any], distance: int = 0) -> float:
    """In percent, over categories and thresholds; NaN without objects."""
    values = []
    for category in (1, 2):
        objects = sum(c == category and not crowd for (_, c, _), crowd in truth)
        if not objects:
            continue
        for threshold in THRESHOLDS:
            verdicts = []
            for image in (1, 2):
                here = (image, category)
                verdicts += _judge_image(
                    [(_mask(p[2]), crowd) for p, crowd in truth if p[:2] == here],
                    [(_mask(p[2]), score) for p, score in found if p[:2] == here],
                    threshold,
                    distance,
                )
            values.append(_average_precision(verdicts, objects))
    return 100 * float(np.mean(values)) if values else float("nan")


def _entry(place: Any) -> dict[str, Any]:
    image, category, box = place
    rle = coco_mask.encode(np.asfortranarray(_mask(box), dtype=np.uint8))
    return {"image_id": image, "category_id": category, "bbox": [*box], "segmentation": rle}


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_ap_is_that_of_the_definition(task: Task) -> None:
    @settings(max_examples=80, deadline=None)
    @given(truth_lists, result_lists)
    def check(truth: list[Any], found: list[Any]) -> None:
        annotations = [
            _entry(place) | {"iscrowd": crowd, "area": place[2][2] * place[2][3]}
            for place, crowd in truth
        ]
        results = [_entry(place) | {"score": score} for place, score in found]
        matched = match_results(annotations, results, [1, 2], task)
        summary = precision_scores(matched, ["a", "b"]).summary
        assert summary["AP"] == pytest.approx(_slow_ap(truth, found), abs=1e-9, nan_ok=True)

    check()


def test_boundary_ap_is_that_of_the_definition() -> None:
    # 0.06 and 0.12 of the diagonal of 17 pixels.
    @settings(max_examples=60, deadline=None)
    @given(truth_lists, result_lists, st.sampled_from([(0.06, 1), (0.12, 2)]))
    def check(truth: list[Any], found: list[Any], reach: tuple[float, int]) -> None:
        annotations = [
            _entry(place) | {"iscrowd": crowd, "area": place[2][2] * place[2][3]}
            for place, crowd in truth
        ]
        results = [_entry(place) | {"score": score} for place, score in found]
        matched = match_results(annotations, results, [1, 2], "segm", boundary_share=reach[0])
        summary = precision_scores(matched, ["a", "b"]).summary
        expected = _slow_ap(truth, found, reach[1])
        assert summary["AP"] == pytest.approx(expected, abs=1e-9, nan_ok=True)

    check()
