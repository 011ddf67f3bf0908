"""Which images an evaluated run is worst at, from the files that its evaluators have written."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

# By file, the metrics of an image that a report names, and what it calls them.
METRICS = {
    "panoptic.json": {"PQ": "PQ"},
    "instances_segm.json": {"AP": "mask AP"},
    "instances_bbox.json": {"AP": "box AP"},
    "semantic.json": {"mIoU": "mIoU", "mBF1": "mBF1", "mBIoU": "mBIoU", "mHD95": "mHD95"},
}


def worst_of_run(folder: Path, count: int) -> dict[Any, str]:
    """By image id a caption: of which metrics it is among the ``count`` worst, with its values.

    In the order of the metrics, from the worst image on. ``folder`` is ``inference/NAME`` in the
    ``OUTPUT_DIR`` of an evaluated run; of files and metrics that are not there nothing is said.
    """
    captions: dict[Any, list[str]] = defaultdict(list)
    for file, names in METRICS.items():
        path = folder / file
        worst = json.loads(path.read_bytes()).get("worst_images", {}) if path.is_file() else {}
        for metric, name in names.items():
            for rank, image in enumerate(worst.get(metric, [])[: max(count, 0)], start=1):
                captions[image["image_id"]].append(f"{name} {image['value']:.1f} (worst {rank})")
    return {image_id: ", ".join(parts) for image_id, parts in captions.items()}
