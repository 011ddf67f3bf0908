"""All numbers of instances at once: AP, AR, boundary AP, intervals, the worst images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from seg_projects.evaluation.bootstrap import draw_images
from seg_projects.evaluation.coco_precision import (
    Task,
    match_results,
    precision_scores,
)
from seg_projects.evaluation.image_states import sampled_interval
from seg_projects.evaluation.precision_bootstrap import (
    MatchedByScore,
    image_precision,
    matched_by_score,
)
from seg_projects.evaluation.scores import Scores
from seg_projects.evaluation.worst_images import WorstImages


class InstanceEvaluation(NamedTuple):
    """The numbers, and the state from which AP of drawn data sets follows."""

    scores: Scores
    state: MatchedByScore


def evaluate_instances(
    annotations: Sequence[Mapping[str, Any]],
    results: Sequence[Mapping[str, Any]],
    categories: Mapping[int, str],
    task: Task,
    file_names: Mapping[Any, str],
    *,
    max_detections: int = 100,
    boundary_share: float = 0.0,
    bootstrap: int = 0,
    num_worst: int = 20,
) -> InstanceEvaluation:
    """Scores of COCO ``results`` against ``annotations``.

    Args:
        annotations: as of :func:`match_results`.
        results: likewise.
        categories: name by id, in the order of the result.
        task: what is compared.
        file_names: by id, of all images that were evaluated.
        max_detections: so many of an image and category count, those of the best scores.
        boundary_share: of masks, boundary AP too (``BAP``, ...); 0 leaves it out.
        bootstrap: so many data sets are drawn for ``AP_low`` and ``AP_high``, the 95 % interval.
        num_worst: images that are named as the worst ones.
    """
    ids, names = list(categories), list(categories.values())
    matched = match_results(annotations, results, ids, task, max_detections)
    scores = precision_scores(matched, names, max_detections)
    if boundary_share and task == "segm":
        nearer = match_results(
            annotations, results, ids, task, max_detections, boundary_share=boundary_share
        )
        scores = _with_boundaries(scores, precision_scores(nearer, names, max_detections))
    if not file_names:
        scores.notes.append("No image was evaluated.")
    state = matched_by_score(matched, sorted(file_names), len(ids))
    if bootstrap:
        low, high = sampled_interval(state, draw_images(len(file_names), bootstrap))
        scores.summary.update(AP_low=low, AP_high=high)
    worst = WorstImages(num_worst)
    for image_id, values in image_precision(state).items():
        worst.add(image_id, file_names[image_id], values)
    scores.worst_images.update(worst.as_json())
    return InstanceEvaluation(scores, state)


def _with_boundaries(scores: Scores, boundaries: Scores) -> Scores:
    chosen = [key for key in boundaries.summary if key.startswith("AP")]
    return replace(
        scores,
        summary=scores.summary | {f"B{key}": boundaries.summary[key] for key in chosen},
        per_category={
            name: values | {"BAP": boundaries.per_category[name]["AP"]}
            for name, values in scores.per_category.items()
        },
    )
