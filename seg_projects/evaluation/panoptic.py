"""Panoptic quality of a model on a data set in the COCO panoptic format, in memory."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from detectron2.evaluation import DatasetEvaluator
from seg_projects.evaluation.gathering import gather_by_image
from seg_projects.evaluation.ground_truth import PanopticGroundTruth
from seg_projects.evaluation.panoptic_quality import (
    PanopticCounts,
    mean_quality,
    panoptic_counts,
    panoptic_quality,
    total_counts,
)
from seg_projects.evaluation.tables import log_table

logger = logging.getLogger(__name__)


class PanopticEvaluator(DatasetEvaluator):
    """PQ, SQ and RQ in percent over all, thing and stuff categories, and PQ per category."""

    def __init__(self, truth: PanopticGroundTruth) -> None:
        self.truth = truth
        self.reset()

    def reset(self) -> None:
        self.counts: dict[int, PanopticCounts] = {}

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images: ``panoptic_seg`` of each output is the map of ids and its segments."""
        for input_, output in zip(inputs, outputs, strict=True):
            ids, segments = output["panoptic_seg"]
            annotation = self.truth.annotation(input_["image_id"])
            categories = self.truth.output_categories.category_ids(segments)
            predicted = [
                {"id": s["id"], "category_id": category}
                for s, category in zip(segments, categories, strict=True)
            ]
            self.counts[input_["image_id"]] = panoptic_counts(
                annotation.ids,
                annotation.segments,
                ids.cpu().numpy(),
                predicted,
                self.truth.column,
            )

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        """``{"panoptic_seg": {"PQ": ..., "SQ": ..., "RQ": ..., "PQ_th": ..., "PQ-<name>": ...}}``.

        None on all processes but the first.
        """
        by_image = gather_by_image(self.counts)
        if by_image is None:
            return None
        counts = total_counts(list(by_image.values()), len(self.truth.categories))
        quality = panoptic_quality(counts)
        groups = {
            "": np.ones_like(self.truth.is_thing),
            "_th": self.truth.is_thing,
            "_st": ~self.truth.is_thing,
        }
        result: dict[str, float] = {}
        rows = []
        for suffix, chosen in groups.items():
            means = mean_quality(quality, chosen)
            result |= {
                f"{key}{suffix}": v for key, v in zip(("PQ", "SQ", "RQ"), means, strict=True)
            }
            occurring = int((chosen & ~np.isnan(quality.pq)).sum())
            name = {"": "all", "_th": "things", "_st": "stuff"}[suffix]
            rows.append((name, *means, occurring))
        result |= {
            f"PQ-{name}": float(v) for name, v in zip(self.truth.names, quality.pq, strict=True)
        }
        log_table(logger, "Panoptic quality", ("", "PQ", "SQ", "RQ", "categories"), rows)
        return {"panoptic_seg": result}
