"""Overlays of segmentations over their images, and the report of a run."""

from __future__ import annotations

from seg_projects.visualization.curves import format_number, read_metrics
from seg_projects.visualization.overlay import (
    Category,
    categories_from_coco,
    flatten_masks,
    instance_overlay,
    panoptic_overlay,
    semantic_overlay,
    side_by_side,
)
from seg_projects.visualization.report import Report, Table, write_report
from seg_projects.visualization.samples import (
    Panoptic,
    Sample,
    panoptic_sample,
    semantic_sample,
)

__all__ = [
    "Category",
    "Panoptic",
    "Report",
    "Sample",
    "Table",
    "categories_from_coco",
    "flatten_masks",
    "format_number",
    "instance_overlay",
    "panoptic_overlay",
    "panoptic_sample",
    "read_metrics",
    "semantic_overlay",
    "semantic_sample",
    "side_by_side",
    "write_report",
]
