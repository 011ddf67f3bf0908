"""Files to convert, and what a perfect prediction scores on a converted set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_projects.data.panoptic_ids import read_panoptic_ids
from seg_projects.evaluation.panoptic_quality import (
    mean_quality,
    occurring_counts,
    panoptic_counts,
    panoptic_quality,
    total_counts,
)

Convert = Callable[..., dict[str, Any]]


def perfect_quality(output: Path) -> float:
    """PQ of the truth as its own prediction; every pixel's segment is listed with its area."""
    content = json.loads((output / "train.json").read_text())
    column = {c["id"]: i for i, c in enumerate(content["categories"])}
    counts = []
    for annotation in content["annotations"]:
        ids = read_panoptic_ids(output / "train_masks" / annotation["file_name"])
        segments = annotation["segments_info"]
        present, areas = np.unique(ids[ids > 0], return_counts=True)
        assert dict(zip(present.tolist(), areas.tolist(), strict=True)) == {
            s["id"]: s["area"] for s in segments
        }
        counts.append(occurring_counts(panoptic_counts(ids, segments, ids, segments, column)))
    total = total_counts(counts, len(column))
    pq, _, _ = mean_quality(panoptic_quality(total), np.ones(len(column), dtype=bool))
    return pq


def save_image(path: Path, width: int, height: int, **options: Any) -> Path:
    """A grey image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 90, 90)).save(path, **options)
    return path
