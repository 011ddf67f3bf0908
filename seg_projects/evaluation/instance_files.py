"""AP of a COCO result JSON against a COCO instances JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from seg_projects.errors import UserError
from seg_projects.evaluation.coco_precision import Task
from seg_projects.evaluation.image_states import add_comparison, compare
from seg_projects.evaluation.instance_file_checks import check_instances, entry_problems
from seg_projects.evaluation.instance_scores import evaluate_instances
from seg_projects.evaluation.instance_truth import with_compressed_mask
from seg_projects.evaluation.scores import Problems, Scores


def evaluate_instance_files(
    truth: Path,
    predictions: Path,
    *,
    task: str | None = None,
    max_detections: int = 100,
    boundary_share: float = 0.0,
    bootstrap: int = 0,
    other: Path | None = None,
) -> Scores:
    """AP and AR of the results in ``predictions``.

    Args:
        truth: a COCO instances JSON.
        predictions: a COCO result JSON: a list of boxes or masks with scores.
        task: ``"bbox"`` or ``"segm"``; None for masks where the first result has one.
        max_detections: so many per image and category count.
        boundary_share: of masks, boundary AP too; a boundary's reach as a share of the diagonal.
        bootstrap: so many data sets are drawn for ``AP_low`` and ``AP_high``.
        other: other results, with which these are compared on the drawn data sets, or on 1000.

    Raises:
        UserError: a file is missing or of another format, or results do not fit; they are named.
    """
    if max_detections < 1:
        raise UserError(f"max_detections={max_detections}: at least one has to count.")
    scores, state = evaluate_instances(
        *_read_instances(truth, predictions, task),
        max_detections=max_detections,
        boundary_share=boundary_share,
        bootstrap=bootstrap,
    )
    if other is not None:
        second = evaluate_instances(
            *_read_instances(truth, other, task), max_detections=max_detections
        )
        result = compare(state, second.state, bootstrap or 1000)
        add_comparison(scores, "AP", result, str(other))
    return scores


class _Instances(NamedTuple):
    """What :func:`evaluate_instances` compares."""

    annotations: list[dict[str, Any]]
    results: list[dict[str, Any]]
    categories: dict[int, str]
    task: Task
    file_names: dict[Any, str]


def _read_instances(truth: Path, predictions: Path, task: str | None) -> _Instances:
    content, results = _read(truth), _read(predictions)
    if not isinstance(results, list):
        raise UserError(f"{predictions} is not a COCO result file, which is a list.")
    if task is None:
        first = results[0] if results else None
        task = "segm" if isinstance(first, dict) and first.get("segmentation") else "bbox"
    check_instances(content, truth, masks=task == "segm")
    images = {image["id"]: image for image in content["images"]}
    categories = {c["id"]: c["name"] for c in sorted(content["categories"], key=lambda c: c["id"])}
    annotations, needed = content["annotations"], "segmentation" if task == "segm" else "bbox"
    for what, entries, number in (
        ("annotation", annotations, "area"),
        ("result", results, "score"),
    ):
        problems = Problems()
        for place, sentence in entry_problems(entries, images, categories, (number, needed)):
            problems.add(f"{what} {place}", sentence)
        problems.raise_if_any(f"{truth}" if number == "area" else f"{predictions} against {truth}")
    if task == "segm":
        results, annotations = (
            [with_compressed_mask(entry, _size(images[entry["image_id"]])) for entry in entries]
            for entries in (results, annotations)
        )
    file_names = {i: image.get("file_name", str(i)) for i, image in images.items()}
    return _Instances(annotations, results, categories, cast("Task", task), file_names)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.") from error


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    return image["height"], image["width"]
