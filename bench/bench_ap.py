#!/usr/bin/env python
"""Times our AP of boxes beside pycocotools and, where it is installed, faster-coco-eval.

python bench/bench_ap.py --images 1000 --detections 100
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


def draw(images: int, detections: int, categories: int = 80) -> tuple[dict[str, Any], list[Any]]:
    """COCO annotations (7 per image) and results, half of them near an object."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        boxes = np.column_stack((rng.uniform(0, 400, (7, 2)), rng.uniform(8, 240, (7, 2))))
        labels = rng.integers(1, categories + 1, 7)
        for box, label in zip(boxes.tolist(), labels.tolist(), strict=True):
            entry = {"image_id": image, "category_id": label, "bbox": box}
            extra = {"id": len(annotations) + 1, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append(entry | extra)
        near = rng.integers(0, 7, detections)
        found = boxes[near] * rng.uniform(0.85, 1.15, (detections, 4))
        random = rng.integers(1, categories + 1, detections)
        found_labels = np.where(rng.random(detections) < 0.5, labels[near], random)
        scores = rng.random(detections)
        for box, label, score in zip(
            found.tolist(), found_labels.tolist(), scores.tolist(), strict=True
        ):
            results.append({"image_id": image, "category_id": label, "bbox": box, "score": score})
    truth = {
        "info": {},
        "images": [{"id": i, "height": 640, "width": 640} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in range(1, categories + 1)],
    }
    return truth, results


def ours(truth: dict[str, Any], results: list[Any]) -> float:
    """AP in percent."""
    from seg_projects.evaluation.coco_precision import match_results, precision_scores

    categories = [c["id"] for c in truth["categories"]]
    matched = match_results(truth["annotations"], results, categories, "bbox")
    return precision_scores(matched, [str(c) for c in categories]).summary["AP"]


def reference(coco_class: Any, evaluation_class: Any) -> Callable[..., float]:
    """AP in percent by classes that have pycocotools' interface."""

    def run(truth: dict[str, Any], results: list[Any]) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = coco_class()
            coco.dataset = truth
            coco.createIndex()
            evaluation = evaluation_class(coco, coco.loadRes(results), "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return 100 * float(evaluation.stats[0])

    return run


def references() -> dict[str, Callable[..., float]]:
    """What is installed of the tools to compare with."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    found = {"pycocotools": reference(COCO, COCOeval)}
    with contextlib.suppress(ImportError):
        import faster_coco_eval as fast

        found["faster-coco-eval"] = reference(fast.COCO, fast.COCOeval_faster)
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the ratio of each reference to ours, median of alternating runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--detections", type=int, default=100, help="per image")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    truth, results = draw(args.images, args.detections)
    ours(*draw(2, 2))  # imports
    for name, run in references().items():
        ratios = []
        for _ in range(args.repeats):
            # The references write into what they are given.
            theirs_truth, theirs_results = copy.deepcopy((truth, results))
            start = time.perf_counter()
            expected = run(theirs_truth, theirs_results)
            middle = time.perf_counter()
            value = ours(truth, results)
            own = time.perf_counter() - middle
            assert abs(value - expected) < 1e-9, (name, value, expected)
            ratios.append((middle - start) / own)
        print(
            f"AP boxes, {args.images} images x {args.detections} detections: ours {own:.2f} s, "
            f"{name} / ours {statistics.median(ratios):.1f}, AP {value:.3f} equal"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
