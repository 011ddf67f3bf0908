"""Assigning a ground truth to each predicted element by a matrix of qualities."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Matcher"]


class Matcher:
    """Gives every prediction its best ground truth, and a label by how good that match is."""

    def __init__(
        self, thresholds: list[float], labels: list[int], allow_low_quality_matches: bool = False
    ) -> None:
        """Keeps the ranges of quality.

        Args:
            thresholds: ascending positive bounds between the ranges.
            labels: one for each range, so one more than ``thresholds``: 0 is negative, 1 positive,
                -1 ignored. A quality equal to a bound belongs to the range above it.
            allow_low_quality_matches: the best predictions of each ground truth are positive
                whatever their quality.
        """
        assert all(bound > 0 for bound in thresholds), f"thresholds {thresholds} must be positive"
        assert thresholds == sorted(thresholds), f"thresholds {thresholds} must ascend"
        assert set(labels) <= {-1, 0, 1}, f"labels {labels} must be -1, 0 or 1"
        assert len(labels) == len(thresholds) + 1, (
            f"{len(thresholds)} thresholds need {len(thresholds) + 1} labels, not {len(labels)}"
        )
        self.thresholds = [-math.inf, *thresholds, math.inf]
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Matches the P predictions with the G ground truths.

        Args:
            match_quality_matrix: (G, P) qualities >= 0, such as IoU.

        Returns:
            (P,) int64 index in [0, G) of each prediction's best ground truth, 0 where G is 0; and
            (P,) int8 labels.
        """
        assert match_quality_matrix.dim() == 2, tuple(match_quality_matrix.shape)
        num_predictions = match_quality_matrix.shape[1]
        labels = match_quality_matrix.new_full((num_predictions,), self.labels[0], dtype=torch.int8)
        if match_quality_matrix.numel() == 0:
            matches = match_quality_matrix.new_zeros((num_predictions,), dtype=torch.int64)
            return matches, labels

        best_quality, matches = match_quality_matrix.max(dim=0)
        for bound, label in zip(self.thresholds[1:-1], self.labels[1:], strict=True):
            labels.masked_fill_(best_quality >= bound, label)
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(labels, match_quality_matrix)
        return matches, labels

    def set_low_quality_matches_(self, match_labels: Tensor, match_quality_matrix: Tensor) -> None:
        """Labels the best predictions of each ground truth 1, ties included, in place.

        This is case (i) of section 3.1.2 of arXiv:1506.01497. A prediction keeps the ground truth
        that is best for itself, which may be another one.

        Args:
            match_labels: (P,) int8 labels, changed.
            match_quality_matrix: (G, P) qualities.
        """
        best_of_gt = match_quality_matrix.amax(dim=1, keepdim=True)  # (G, 1)
        match_labels.masked_fill_((match_quality_matrix == best_of_gt).any(dim=0), 1)
