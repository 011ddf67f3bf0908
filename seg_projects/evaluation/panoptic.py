"""Panoptic quality of a model on a data set in the COCO panoptic format, in memory."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from detectron2.evaluation import DatasetEvaluator
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import Annotation, PanopticGroundTruth
from seg_projects.evaluation.image_states import PanopticStates, write_states
from seg_projects.evaluation.panoptic_boundaries import boundary_counts, boundary_overlaps
from seg_projects.evaluation.panoptic_quality import (
    OccurringCounts,
    counts_table,
    match_segments,
    occurring_counts,
    pair_histogram,
    pair_histogram_on_device,
    segment_pairs,
    total_counts,
)
from seg_projects.evaluation.panoptic_scores import (
    GROUPS,
    AreaCheck,
    image_quality,
    panoptic_scores,
    with_boundary_scores,
)
from seg_projects.evaluation.scores import Scores, write_scores_json
from seg_projects.evaluation.tables import log_table
from seg_projects.evaluation.worst_images import WorstImages

logger = logging.getLogger(__name__)


class _ImageState(NamedTuple):
    """What one image adds: some hundred bytes, so that one that is seen twice counts once."""

    counts: OccurringCounts
    boundaries: OccurringCounts | None
    areas: AreaCheck


class PanopticEvaluator(DatasetEvaluator):
    """PQ, SQ and RQ in percent over all, thing and stuff categories, and per category."""

    def __init__(
        self,
        truth: PanopticGroundTruth,
        output_dir: str | Path | None = None,
        *,
        boundary_share: float = 0.0,
        num_worst: int = 20,
    ) -> None:
        """Panoptic quality against ``truth``.

        Args:
            truth: the annotations.
            output_dir: folder for ``panoptic.json``, all numbers, notes and the worst images, and
                for ``panoptic_images.npz``, from which runs are compared.
            boundary_share: distance from the contour, as a share of the image's diagonal, of
                boundary PQ; 0 leaves it out, 0.02 is usual.
            num_worst: images that are named per metric.
        """
        self.truth, self.num_worst = truth, num_worst
        self.output_dir = None if output_dir is None else Path(output_dir)
        self.boundary_share = boundary_share
        self.reset()

    def reset(self) -> None:
        self.images: dict[int, _ImageState] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``panoptic_seg`` of each output is the map of ids and its segments.

        Without segments, the map is Panoptic-DeepLab's.
        """
        for input_, output in zip(inputs, outputs, strict=True):
            ids, segments = self.truth.output_categories.described(*output["panoptic_seg"])
            annotation = self.truth.annotation(input_["image_id"])
            categories = self.truth.output_categories.category_ids(segments)
            predicted = [
                {"id": s["id"], "category_id": category}
                for s, category in zip(segments, categories, strict=True)
            ]
            self.images[input_["image_id"]] = self._compare(annotation, ids, predicted)

    def _compare(
        self, annotation: Annotation, ids: Tensor, predicted: list[dict[str, Any]]
    ) -> _ImageState:
        column = self.truth.column
        if ids.device.type == "cpu":
            histogram = pair_histogram(annotation.ids, ids.numpy())
        else:
            histogram = pair_histogram_on_device(annotation.ids, ids)
        pairs = segment_pairs(histogram, annotation.segments, predicted, column)
        counts = match_segments(pairs, pairs.overlaps.iou, len(column))
        areas = AreaCheck()
        areas.add(
            str(self.truth.metadata.panoptic_json),
            annotation.file_name,
            annotation.segments,
            pairs.overlaps.truth_area,
        )
        boundaries = None
        if self.boundary_share:
            overlaps = boundary_overlaps(
                annotation.ids,
                annotation.segments,
                ids.cpu().numpy(),
                predicted,
                column,
                share=self.boundary_share,
            )
            boundaries = occurring_counts(boundary_counts(pairs, overlaps, len(column)))
        return _ImageState(occurring_counts(counts), boundaries, areas)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"panoptic_seg": {"PQ": ..., "SQ": ..., "RQ": ..., "PQ_th": ..., "PQ-<name>": ...}}``.

        With boundary PQ also ``BPQ``, ``BPQ_th``, ``BPQ-<name>``. None on all processes but the
        first.
        """
        by_image = gather_by_image(self.images)
        if by_image is None:
            return None
        scores = self._scores(by_image)
        if not by_image:
            scores.notes.append("No image was evaluated.")
        for note in scores.notes:
            logger.warning("%s", note)
        if self.output_dir is not None:
            self.output_dir.mkdir(parents=True, exist_ok=True)
            write_scores_json(self.output_dir / "panoptic.json", scores)
            table = counts_table([i.counts for i in by_image.values()], len(self.truth.categories))
            states = PanopticStates(np.array(list(by_image)), table)
            write_states(self.output_dir / "panoptic_images.npz", states)
        self._log(scores)
        result = dict(scores.summary)
        for metric in next(iter(scores.per_category.values()), {}):
            per_category = scores.per_category.items()
            result |= {f"{metric}-{name}": values[metric] for name, values in per_category}
        return {"panoptic_seg": result}

    def _scores(self, by_image: dict[int, _ImageState]) -> Scores:
        truth, areas = self.truth, AreaCheck()
        worst = WorstImages(self.num_worst)
        for image_id, image in by_image.items():
            areas.merge(image.areas)
            quality = image_quality(image.counts, truth.is_thing)
            worst.add(image_id, truth.file_name(image_id), quality)
        size = len(truth.categories)
        counts = total_counts([image.counts for image in by_image.values()], size)
        scores = panoptic_scores(counts, truth.names, truth.is_thing, areas.notes())
        scores.worst_images.update(worst.as_json())
        if not self.boundary_share:
            return scores
        boundaries = [i.boundaries for i in by_image.values() if i.boundaries is not None]
        counts = total_counts(boundaries, size)
        return with_boundary_scores(
            scores, panoptic_scores(counts, truth.names, truth.is_thing, prefix="B")
        )

    def _log(self, scores: Scores) -> None:
        metrics = ["PQ", "SQ", "RQ"]
        if self.boundary_share:
            metrics += ["BPQ", "BSQ", "BRQ"]
        rows = [
            (name, *(scores.summary[f"{metric}{suffix}"] for metric in metrics))
            for suffix, name in GROUPS.items()
        ]
        log_table(logger, "Panoptic quality", ("", *metrics), rows)
