"""AP of a COCO result JSON against a COCO instances JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

from seg_projects.errors import UserError
from seg_projects.evaluation.coco_precision import Task
from seg_projects.evaluation.image_pairing import truth_image_ids
from seg_projects.evaluation.image_states import add_comparison, compare
from seg_projects.evaluation.instance_file_checks import (
    box_note,
    check_instances,
    entry_problems,
)
from seg_projects.evaluation.instance_scores import evaluate_instances
from seg_projects.evaluation.instance_truth import with_compressed_mask
from seg_projects.evaluation.panoptic_boundaries import check_boundary_share
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
        predictions: a COCO result JSON: a list of boxes or masks with scores; or an instances JSON
            whose annotations have scores, its images named as those of the truth.
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
    check_boundary_share(boundary_share)
    annotated = _Truth(truth)
    inputs = _read_instances(annotated, predictions, task)
    scores, state = evaluate_instances(
        *inputs,
        max_detections=max_detections,
        boundary_share=boundary_share,
        bootstrap=bootstrap,
    )
    if inputs.task == "bbox" and boundary_share:
        scores.notes.append("Boxes were scored, which have no boundaries: there is no BAP.")
    if inputs.task == "bbox" and (note := box_note(inputs.results, annotated.images)):
        scores.notes.append(note)
    if other is not None:
        second = evaluate_instances(
            *_read_instances(annotated, other, task), max_detections=max_detections
        )
        result = compare(state, second.state, bootstrap or 1000)
        add_comparison(scores, "AP", result, str(other))
    return scores


class _Truth:
    """An instances JSON, read once, and checked and its masks compressed once per task."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, _read(path)
        self._annotations: dict[Task, list[dict[str, Any]]] = {}

    def annotations(self, task: Task) -> list[dict[str, Any]]:
        """The annotations, masks as compressed RLE where they are compared."""
        if task not in self._annotations:
            check_instances(self.content, self.path, masks=task == "segm")
            entries = self.content["annotations"]
            self.check(entries, task, ("annotation", "area"), f"{self.path}")
            self._annotations[task] = self.compressed(entries, task)
        return self._annotations[task]

    @cached_property
    def images(self) -> dict[Any, dict[str, Any]]:
        """By id."""
        return {image["id"]: image for image in self.content["images"]}

    @cached_property
    def categories(self) -> dict[int, str]:
        """Names by id, in the order of ids."""
        rows = sorted(self.content["categories"], key=lambda c: c["id"])
        return {c["id"]: c["name"] for c in rows}

    def check(self, entries: Any, task: Task, kind: tuple[str, str], what: str) -> None:
        """Raises a UserError where annotations or results are wrong.

        Args:
            entries: of the JSON.
            task: whose fields they need.
            kind: what an entry is called, and the number that it has.
            what: the files, for the message.
        """
        needed = "segmentation" if task == "segm" else "bbox"
        problems = Problems()
        keys = (kind[1], needed)
        for place, sentence in entry_problems(entries, self.images, self.categories, keys):
            problems.add(f"{kind[0]} {place}", sentence)
        problems.raise_if_any(what)

    def compressed(self, entries: list[dict[str, Any]], task: Task) -> list[dict[str, Any]]:
        """Copies with compressed masks, where masks are compared; else ``entries``."""
        if task == "bbox":
            return entries
        sizes = {key: (image["height"], image["width"]) for key, image in self.images.items()}
        return [with_compressed_mask(entry, sizes[entry["image_id"]]) for entry in entries]


class _Instances(NamedTuple):
    """What :func:`evaluate_instances` compares."""

    annotations: list[dict[str, Any]]
    results: list[dict[str, Any]]
    categories: dict[int, str]
    task: Task
    file_names: dict[Any, str]


def _read_instances(truth: _Truth, predictions: Path, task: str | None) -> _Instances:
    results = _results(_read(predictions), predictions, truth)
    if task is None:
        first = results[0] if results else None
        task = "segm" if isinstance(first, dict) and first.get("segmentation") else "bbox"
    chosen = cast("Task", task)
    annotations = truth.annotations(chosen)
    truth.check(results, chosen, ("result", "score"), f"{predictions} against {truth.path}")
    results = truth.compressed(results, chosen)
    file_names = {i: image.get("file_name", str(i)) for i, image in truth.images.items()}
    return _Instances(annotations, results, truth.categories, chosen, file_names)


def _results(content: Any, path: Path, truth: _Truth) -> list[Any]:
    """A list of results, or the annotations of an instances JSON with scores."""
    if isinstance(content, list):
        return content
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise UserError(
            f"{path} is neither a COCO result file, which is a list, nor an instances JSON whose "
            "annotations have a score."
        )
    ids = truth_image_ids(content.get("images"), truth.content.get("images"))
    entries = content["annotations"]
    return [_renumbered(entry, ids) if isinstance(entry, dict) else entry for entry in entries]


def _renumbered(entry: dict[str, Any], ids: Mapping[Any, Any]) -> dict[str, Any]:
    number = entry.get("image_id")
    known = isinstance(number, int | str) and number in ids
    return {**entry, "image_id": ids[number]} if known else entry


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}.") from error
