"""From the counts of panoptic quality to named numbers, with words on what is undefined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from seg_projects.evaluation.panoptic_quality import (
    OccurringCounts,
    PanopticCounts,
    mean_quality,
    panoptic_quality,
    total_counts,
)
from seg_projects.evaluation.scores import Scores

GROUPS = {"": "all", "_th": "things", "_st": "stuff"}


def panoptic_scores(
    counts: PanopticCounts,
    names: Sequence[str],
    is_thing: np.ndarray,
    notes: Sequence[str] = (),
    *,
    prefix: str = "",
) -> Scores:
    """PQ, SQ, RQ of all, thing (``_th``) and stuff (``_st``) categories, and one by one.

    Args:
        counts: of all images.
        names: of the C categories.
        is_thing: (C,) bool.
        notes: what else a reader should know.
        prefix: before each name of a metric, ``"B"`` for boundary PQ.
    """
    quality = panoptic_quality(counts)
    summary: dict[str, float] = {}
    for suffix, chosen in (("", np.ones_like(is_thing)), ("_th", is_thing), ("_st", ~is_thing)):
        means = zip(("PQ", "SQ", "RQ"), mean_quality(quality, chosen), strict=True)
        summary |= {f"{prefix}{key}{suffix}": value for key, value in means}
    notes = list(notes)
    notes += _explain(summary, counts, prefix)
    columns = {
        "PQ": quality.pq,
        "SQ": quality.sq,
        "RQ": quality.rq,
        "TP": counts.true_positives,
        "FP": counts.false_positives,
        "FN": counts.false_negatives,
    }
    per_category = {
        name: {f"{prefix}{key}": float(values[row]) for key, values in columns.items()}
        for row, name in enumerate(names)
    }
    return Scores(summary=summary, per_category=per_category, notes=notes)


def _explain(summary: Mapping[str, float], counts: PanopticCounts, prefix: str) -> Iterator[str]:
    """Why numbers are undefined or 0: how many predictions fell where."""
    undefined = [suffix for suffix in GROUPS if np.isnan(summary[f"{prefix}PQ{suffix}"])]
    if "" in undefined:
        yield (
            "No segment that counts occurs in truth or prediction (void, crowds and predictions on "
            f"them do not): every {prefix}PQ is undefined (NaN)."
        )
        return
    for suffix in undefined:
        yield (
            f"No {GROUPS[suffix].removesuffix('s')} occurs in truth or prediction: "
            f"{prefix}PQ{suffix} is undefined (NaN)."
        )
    if not counts.true_positives.any():
        missed, wrong = counts.false_negatives.sum(), counts.false_positives.sum()
        found = (
            f"{wrong} predicted segments match none"
            if wrong
            else "nothing that counts was predicted"
        )
        yield f"{prefix}PQ is 0: of {missed} segments of the truth none is found, {found}."


def with_boundary_scores(scores: Scores, boundaries: Scores) -> Scores:
    """Both in one; what is undefined is so in both, and noted once."""
    return replace(
        scores,
        summary=scores.summary | boundaries.summary,
        per_category={
            name: values | boundaries.per_category[name]
            for name, values in scores.per_category.items()
        },
    )


def image_quality(counts: OccurringCounts, is_thing: np.ndarray) -> dict[str, float]:
    """PQ of one image by itself: all, things and stuff; NaN where none occurs."""
    quality = panoptic_quality(total_counts([counts], len(is_thing)))
    groups = (("", np.ones_like(is_thing)), ("_th", is_thing), ("_st", ~is_thing))
    return {f"PQ{suffix}": mean_quality(quality, chosen)[0] for suffix, chosen in groups}


class AreaCheck:
    """Compares ``area`` fields, which nothing here relies on, with pixels."""

    def __init__(self) -> None:
        self.wrong: dict[str, int] = {}
        self.first: dict[str, str] = {}

    def add(
        self, source: str, file_name: str, segments: Sequence[Mapping[str, Any]], areas: np.ndarray
    ) -> None:
        """Notes the segments (S,) of an image whose field is not the pixels ``areas`` (S,)."""
        for segment, pixels in zip(segments, areas.astype(int).tolist(), strict=True):
            if segment.get("area", pixels) == pixels:
                continue
            self.wrong[source] = self.wrong.get(source, 0) + 1
            self.first.setdefault(
                source,
                f"segment {segment['id']} of {file_name}: {segment['area']} against "
                f"{pixels} pixels",
            )

    def merge(self, other: AreaCheck) -> None:
        """Adds what another one has noted later."""
        for source, count in other.wrong.items():
            self.wrong[source] = self.wrong.get(source, 0) + count
            self.first.setdefault(source, other.first[source])

    def notes(self) -> list[str]:
        """A sentence per source that has wrong areas."""
        return [
            f"{source}: the `area` of {count} segment(s) disagrees with the PNG (first: "
            f"{self.first[source]}). Areas were counted from pixels; tools that trust the field, "
            "such as panopticapi, give another PQ."
            for source, count in self.wrong.items()
        ]
