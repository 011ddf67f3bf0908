#!/usr/bin/env python
"""The merge of instances and stuff: that of SegPanopticFPN, and that of ``PanopticFPN``.

python bench/bench_panoptic_merge.py --reference-python PATH
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from _compare import Case, build_parser, compare
from _instances import detections

SIZES = ((480, 640, 30), (800, 1333, 100), (1024, 2048, 50))
OVERLAP, AREA, SCORE = 0.5, 4096, 0.5
CELL = 40
"""Side of the squares of equal stuff, in pixels."""


def combining(height: int, width: int, number: int) -> Callable[[], Any]:
    """Detectron2's function."""
    from detectron2.modeling.meta_arch.panoptic_fpn import combine_semantic_and_instance_outputs

    instances, labels = detections(number, height, width), _labels(height, width)

    def run() -> dict[str, Any]:
        result = combine_semantic_and_instance_outputs(instances, labels, OVERLAP, AREA, SCORE)
        return _outputs(*result)

    return run


def merging(height: int, width: int, number: int) -> Callable[[], Any]:
    """SegPanopticFPN's function."""
    from seg_projects.postprocessing import merge_instances_and_stuff

    instances, labels = detections(number, height, width), _labels(height, width)

    def run() -> dict[str, Any]:
        result = merge_instances_and_stuff(
            instances.pred_masks,
            instances.pred_boxes.tensor,
            instances.scores,
            instances.pred_classes,
            labels,
            overlap_threshold=OVERLAP,
            stuff_area_limit=AREA,
            score_threshold=SCORE,
        )
        return _outputs(*result)

    return run


def _labels(height: int, width: int) -> Any:
    import torch

    cells = (-(-height // CELL), -(-width // CELL))
    labels = torch.from_numpy(np.random.default_rng(2).integers(0, 20, cells))
    full = labels.repeat_interleave(CELL, dim=0).repeat_interleave(CELL, dim=1)
    return full[:height, :width].contiguous()


def _outputs(panoptic: Any, segments: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "map": panoptic.numpy(),
        "ids": [segment["id"] for segment in segments],
        "classes": [segment["category_id"] for segment in segments],
        "areas": [segment.get("area", 0) for segment in segments],
        "instances": [segment.get("instance_id", -1) for segment in segments],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    cases = [
        Case(
            name=f"{name}, {number} instances, {width}x{height}",
            function=function,
            reference_function="combining",
            settings={"height": height, "width": width, "number": number},
        )
        for height, width, number in ([(48, 64, 3)] if args.quick else SIZES)
        for name, function in (("SegPanopticFPN", "merging"), ("PanopticFPN", "combining"))
    ]
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
