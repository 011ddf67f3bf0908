"""Panoptic quality of files in the COCO panoptic format: a JSON and a folder of PNGs a side."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from seg_projects.data.datasets.panoptic import read_panoptic_json
from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.errors import UserError
from seg_projects.evaluation.bootstrap import draw_images
from seg_projects.evaluation.image_pairing import truth_image_ids
from seg_projects.evaluation.image_states import (
    PanopticStates,
    add_comparison,
    compare,
    sampled_interval,
)
from seg_projects.evaluation.panoptic_boundaries import (
    boundary_counts,
    boundary_overlaps,
    check_boundary_share,
)
from seg_projects.evaluation.panoptic_file_checks import (
    check_panoptic_annotations,
    check_panoptic_categories,
    encoding_hint,
    other_names,
)
from seg_projects.evaluation.panoptic_quality import (
    VOID,
    OccurringCounts,
    counts_table,
    match_segments,
    occurring_counts,
    pair_histogram,
    segment_pairs,
    total_counts,
)
from seg_projects.evaluation.panoptic_scores import (
    AreaCheck,
    image_quality,
    panoptic_scores,
    with_boundary_scores,
)
from seg_projects.evaluation.scores import Problems, Scores
from seg_projects.evaluation.worst_images import WorstImages

ID_LIMIT = 1 << 24  # of three bytes a pixel

logger = logging.getLogger(__name__)


class PanopticFolder(NamedTuple):
    """One side of the comparison."""

    json_file: Path
    masks: Path
    annotations: dict[int, dict[str, Any]]  # by image id
    categories: list[dict[str, Any]]  # in the order of their ids
    images: Any  # the list of that name, if the JSON has one
    notes: list[str]  # what a reader of the numbers should know

    def names(self) -> list[str]:
        """Category names, in the order of ``categories``."""
        return [category["name"] for category in self.categories]

    def is_thing(self) -> np.ndarray:
        """(C,) bool, in the order of ``categories``."""
        return np.array([bool(category["isthing"]) for category in self.categories], dtype=bool)


def open_panoptic_folder(
    json_file: Path, masks: Path, truth: PanopticFolder | None = None
) -> PanopticFolder:
    """Reads the JSON; of a prediction, categories and image ids are those of the ``truth``.

    Raises:
        UserError: a path is missing, or the JSON is not of this format.
    """
    for path in (json_file, masks):
        if not path.exists():
            raise UserError(f"{path} does not exist.")
    required = ("annotations", "categories") if truth is None else ("annotations",)
    content = read_panoptic_json(json_file, required)
    check_panoptic_annotations(content["annotations"], json_file)
    images = content.get("images")
    ids = {} if truth is None else truth_image_ids(images, truth.images)
    annotations = {ids.get(a["image_id"], a["image_id"]): a for a in content["annotations"]}
    if len(annotations) < len(content["annotations"]):
        twice = len(content["annotations"]) - len(annotations)
        raise UserError(f"{json_file} annotates {twice} image id(s) more than once.")
    if truth is not None:
        notes = other_names(content.get("categories"), truth.categories, json_file)
        return PanopticFolder(json_file, masks, annotations, truth.categories, images, notes)
    check_panoptic_categories(content["categories"], json_file)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    return PanopticFolder(json_file, masks, annotations, categories, images, [])


class PanopticFileCounts(NamedTuple):
    """The state of PQ per image, and what the files' fields disagree with."""

    image_ids: list[int]
    counts: list[OccurringCounts]
    boundaries: list[OccurringCounts]  # of boundary PQ, where asked for
    notes: list[str]


def count_panoptic_files(
    truth: PanopticFolder, predicted: PanopticFolder, boundary_share: float = 0.0
) -> PanopticFileCounts:
    """Matches the segments of every annotated image of ``truth``.

    Raises:
        UserError: images cannot be compared; all of them are named.
    """
    column = {c["id"]: i for i, c in enumerate(truth.categories)}
    problems, areas = Problems(), AreaCheck()
    for extra in sorted(predicted.annotations.keys() - truth.annotations.keys()):
        problems.add(f"image {extra}", f"is predicted, but not in {truth.json_file}")
    image_ids, counts, boundaries = [], [], []
    for image_id in tqdm(sorted(truth.annotations), desc="PQ", unit="image", disable=None):
        if image_id not in predicted.annotations:
            problems.add(f"image {image_id}", f"has no annotation in {predicted.json_file}")
            continue
        sides = [(side, side.annotations[image_id]) for side in (truth, predicted)]
        try:
            ids = [read_panoptic_ids(side.masks / a["file_name"]) for side, a in sides]
            histogram = pair_histogram(*ids)
        except ValueError as error:
            problems.add(f"image {image_id}", str(error))
            continue
        found = [
            (side, annotation, _areas(side_ids, histogram.pixels))
            for (side, annotation), side_ids in zip(sides, histogram[:2], strict=True)
        ]
        wrong = list(_segment_problems(found, column))
        for name, sentence in wrong:
            problems.add(name, sentence)
        if wrong:
            continue
        for side, annotation, pixels in found:
            segments = annotation["segments_info"]
            in_order = np.array([pixels.get(s["id"], 0) for s in segments])
            areas.add(str(side.json_file), annotation["file_name"], segments, in_order)
        listed, found_segments = (annotation["segments_info"] for _, annotation in sides)
        pairs = segment_pairs(histogram, listed, found_segments, column)
        image_ids.append(image_id)
        matched = match_segments(pairs, pairs.overlaps.iou, len(column))
        counts.append(occurring_counts(matched))
        if boundary_share:
            overlaps = boundary_overlaps(
                ids[0], listed, ids[1], found_segments, column, share=boundary_share
            )
            boundaries.append(occurring_counts(boundary_counts(pairs, overlaps, len(column))))
    problems.raise_if_any(f"{predicted.json_file} against {truth.json_file}")
    return PanopticFileCounts(image_ids, counts, boundaries, [*areas.notes(), *predicted.notes])


def _areas(ids: np.ndarray, pixels: np.ndarray) -> dict[int, int]:
    """Pixels of each id of a map that is given in runs."""
    present, index = np.unique(ids, return_inverse=True)
    totals = np.bincount(index.reshape(-1), weights=pixels, minlength=len(present))
    return dict(zip(present.tolist(), totals.astype(np.int64).tolist(), strict=True))


def _segment_problems(
    found: Sequence[tuple[PanopticFolder, Mapping[str, Any], Mapping[int, int]]],
    column: Mapping[int, int],
) -> Iterator[tuple[str, str]]:
    """(file name, sentence) for every way in which a list of segments and its PNG disagree."""
    for side, annotation, areas in found:
        name = str(side.masks / annotation["file_name"])
        listed: set[int] = set()
        for segment in annotation["segments_info"]:
            if segment["id"] in listed:
                yield name, f"segments overlap: id {segment['id']} is listed twice"
            listed.add(segment["id"])
            if not 0 <= segment["id"] < ID_LIMIT:
                yield name, f"segment {segment['id']}: ids of this format are below {ID_LIMIT}"
            if segment["category_id"] not in column:
                yield (
                    name,
                    f"segment {segment['id']} has category {segment['category_id']!r}, "
                    "which the truth does not list",
                )
        if VOID in listed and side is found[0][0]:
            yield name, f"a segment of the truth has the id {VOID}, which means void"
        if missing := sorted(listed - areas.keys() - {VOID}):
            yield name, f"missing: listed segments without a pixel: {missing}"
        if unlisted := sorted(areas.keys() - listed - {VOID}):
            hint = encoding_hint(unlisted, listed)
            yield name, f"ids in the PNG that no segment lists: {unlisted}{hint}"


def evaluate_panoptic_files(
    truth_json: Path,
    truth_masks: Path,
    predicted_json: Path,
    predicted_masks: Path,
    *,
    bootstrap: int = 0,
    boundary_share: float = 0.0,
    num_worst: int = 20,
    other: tuple[Path, Path] | None = None,
) -> Scores:
    """PQ of two JSON files with their folders of PNGs, areas counted from pixels.

    Args:
        truth_json: COCO panoptic JSON of the annotations.
        truth_masks: its folder of PNGs.
        predicted_json: COCO panoptic JSON of the predictions.
        predicted_masks: its folder of PNGs.
        bootstrap: so many data sets are drawn; ``PQ_low`` and ``PQ_high`` enclose 95 % of their
            PQs.
        boundary_share: distance from the contour, as a share of the image's diagonal, of boundary
            PQ (``BPQ``, ...); 0 leaves it out.
        num_worst: images that are named as the worst ones.
        other: JSON and PNGs of other predictions, with which these are compared on the drawn data
            sets, or on 1000.

    Raises:
        UserError: a file is missing or wrong, or images cannot be compared; they are named.
    """
    check_boundary_share(boundary_share)
    truth = open_panoptic_folder(truth_json, truth_masks)
    predicted = open_panoptic_folder(predicted_json, predicted_masks, truth)
    state = count_panoptic_files(truth, predicted, boundary_share)
    size, names, is_thing = len(truth.categories), truth.names(), truth.is_thing()
    scores = panoptic_scores(total_counts(state.counts, size), names, is_thing, state.notes)
    if boundary_share:
        total = total_counts(state.boundaries, size)
        boundaries = panoptic_scores(total, names, is_thing, prefix="B")
        scores = with_boundary_scores(scores, boundaries)
    if not state.counts:
        scores.notes.append("No image was evaluated.")
    if bootstrap:
        draws = draw_images(len(state.counts), bootstrap)
        low, high = sampled_interval(_states(state, size), draws)
        scores.summary.update(PQ_low=low, PQ_high=high)
    if other is not None:
        folder = open_panoptic_folder(*other, truth)
        second = _states(count_panoptic_files(truth, folder), size)
        result = compare(_states(state, size), second, bootstrap or 1000)
        add_comparison(scores, "PQ", result, str(other[0]))
    worst = WorstImages(num_worst)
    for image_id, counts in zip(state.image_ids, state.counts, strict=True):
        name = truth.annotations[image_id]["file_name"]
        worst.add(image_id, name, image_quality(counts, is_thing))
    scores.worst_images.update(worst.as_json())
    return scores


def _states(counts: PanopticFileCounts, num_categories: int) -> PanopticStates:
    return PanopticStates(np.array(counts.image_ids), counts_table(counts.counts, num_categories))
