"""AP of drawn data sets against data sets in which the drawn images really are repeated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from seg_projects.evaluation import average_precision
from seg_projects.evaluation.bootstrap import draw_images
from seg_projects.evaluation.coco_precision import match_results, precision_scores
from seg_projects.evaluation.precision_bootstrap import (
    image_precision,
    matched_by_score,
    sampled_ap,
)

IMAGES = [4, 7, 9, 11]


@pytest.fixture(params=[False, True], ids=["arrays", "kernels"])
def _compiled_or_not(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        pytest.importorskip("numba", reason="the extra `fast` is not installed")
    monkeypatch.setattr(average_precision, "KERNELS_FROM", 0 if request.param else float("inf"))


def _case(seed: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Objects, crowds among them, and results near them; image 11 has none.

    Scores tie between images. Within one they do not: what comes first is then anyone's guess.
    """
    rng = np.random.default_rng(seed)
    annotations, results = [], []
    for image in IMAGES[:3]:
        scores = rng.permutation(15).tolist()
        for _ in range(5):
            box = [*rng.integers(0, 80, 2).tolist(), *rng.integers(20, 40, 2).tolist()]
            entry = {"image_id": image, "category_id": int(rng.integers(1, 4))}
            area = {"area": box[2] * box[3], "iscrowd": int(rng.random() < 0.2)}
            annotations.append(entry | area | {"bbox": [float(v) for v in box]})
            for _ in range(3):
                near = [float(v + d) for v, d in zip(box, rng.integers(-4, 5, 4), strict=True)]
                results.append(entry | {"bbox": near, "score": scores.pop() / 15})
    return annotations, results


def _repeated(rows: list[dict[str, Any]], draw: np.ndarray) -> list[dict[str, Any]]:
    return [
        row | {"image_id": row["image_id"] * 100 + copy}
        for row in rows
        for copy in range(int(draw[IMAGES.index(row["image_id"])]))
    ]


@pytest.mark.usefixtures("_compiled_or_not")
@pytest.mark.parametrize("seed", range(3))
def test_equals_ap_of_the_images_repeated(seed: int) -> None:
    annotations, results = _case(seed)
    state = matched_by_score(match_results(annotations, results, [1, 2, 3], "bbox"), IMAGES, 3)
    draws = draw_images(len(IMAGES), 12, seed)
    for draw, values in zip(draws, sampled_ap(state, draws), strict=True):
        drawn = (_repeated(annotations, draw), _repeated(results, draw))
        matched = match_results(*drawn, [1, 2, 3], "bbox")
        summary = precision_scores(matched, ["a", "b", "c"]).summary
        assert values.mean() == pytest.approx(summary["AP"], nan_ok=True)
        assert values[0] == pytest.approx(summary["AP50"], nan_ok=True)


@pytest.mark.usefixtures("_compiled_or_not")
def test_an_image_by_itself_has_the_ap_of_its_rows() -> None:
    annotations, results = _case(5)
    state = matched_by_score(match_results(annotations, results, [1, 2, 3], "bbox"), IMAGES, 3)
    values = image_precision(state)
    assert 11 not in values
    for image, metrics in values.items():
        rows = [[r for r in side if r["image_id"] == image] for side in (annotations, results)]
        matched = match_results(*rows, [1, 2, 3], "bbox")
        assert metrics["AP"] == pytest.approx(
            precision_scores(matched, ["a", "b", "c"]).summary["AP"]
        )


@pytest.mark.usefixtures("_compiled_or_not")
def test_without_results_ap_is_0_and_without_objects_undefined() -> None:
    annotations, results = _case(0)
    nothing_found = matched_by_score(match_results(annotations, [], [1, 2], "bbox"), IMAGES, 2)
    assert sampled_ap(nothing_found, np.ones((1, 4))).tolist() == [[0] * 10]
    no_object = matched_by_score(match_results([], results, [1, 2], "bbox"), IMAGES, 2)
    assert np.isnan(sampled_ap(no_object, np.ones((2, 4)))).all()
