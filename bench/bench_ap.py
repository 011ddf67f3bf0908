#!/usr/bin/env python
"""Times our AP beside pycocotools, Detectron2's COCOeval_opt and faster-coco-eval.

Each that the interpreter can import is run in turn with ours, on one core, from the same lists of
annotations and results; --no-kernels leaves numba out. Times are those of the processor, which
other work on the machine changes less.

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
from typing import Any, Literal

import numpy as np

SIDE = 640
TASKS: tuple[Literal["bbox", "segm"], ...] = ("bbox", "segm")


def draw(
    images: int, detections: int, categories: int = 80, *, masks: bool = False
) -> tuple[dict[str, Any], list[Any]]:
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
        "images": [{"id": i, "height": SIDE, "width": SIDE} for i in range(1, images + 1)],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in range(1, categories + 1)],
    }
    if masks:
        for entry in [*annotations, *results]:
            entry["segmentation"] = blob(entry.pop("bbox"))
        for entry in annotations:
            entry["bbox"] = [0.0, 0.0, 1.0, 1.0]  # not looked at
    return truth, results


def blob(box: Sequence[float]) -> dict[str, Any]:
    """The RLE of an ellipse with a wavy contour that fills a box x, y, width, height."""
    from pycocotools import mask as coco_mask

    left, right = round(box[0]), min(round(box[0] + box[2]), SIDE)
    columns = np.arange(left, max(right, left + 1))
    across = (columns + 0.5 - box[0] - box[2] / 2) / (box[2] / 2)
    half = box[3] / 2 * np.sqrt(np.clip(1 - across**2, 0.01, 1)) * (1 + 0.2 * np.sin(columns / 3))
    middle = box[1] + box[3] / 2
    start = np.clip(np.round(middle - half), 0, SIDE - 1).astype(int) + columns * SIDE
    stop = np.clip(np.round(middle + half), 1, SIDE).astype(int) + columns * SIDE
    ends = np.column_stack((start, np.maximum(stop, start + 1))).reshape(-1)
    counts = np.diff(ends, prepend=0, append=SIDE * SIDE).tolist()
    return coco_mask.frPyObjects({"size": [SIDE, SIDE], "counts": counts}, SIDE, SIDE)


def ours(truth: dict[str, Any], results: list[Any], task: Literal["bbox", "segm"]) -> float:
    """AP in percent."""
    from seg_projects.evaluation.coco_precision import match_results, precision_scores

    categories = [c["id"] for c in truth["categories"]]
    matched = match_results(truth["annotations"], results, categories, task)
    return precision_scores(matched, [str(c) for c in categories]).summary["AP"]


def reference(coco_class: Any, evaluation_class: Any) -> Callable[..., float]:
    """AP in percent by classes that have pycocotools' interface."""

    def run(truth: dict[str, Any], results: list[Any], task: str) -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            coco = coco_class()
            coco.dataset = truth
            coco.createIndex()
            evaluation = evaluation_class(coco, coco.loadRes(results), task)
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
        from detectron2.evaluation.fast_eval_api import COCOeval_opt

        found["COCOeval_opt"] = reference(COCO, COCOeval_opt)
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
    parser.add_argument("--no-kernels", action="store_true")
    args = parser.parse_args(argv)
    from seg_projects.evaluation import average_precision

    average_precision.KERNELS_FROM = sys.maxsize if args.no_kernels else 0
    for task in TASKS:
        ours(*draw(2, 2, masks=task == "segm"), task)  # imports and compiles
        inputs = draw(args.images, args.detections, masks=task == "segm")
        for name, run in references().items():
            print(
                f"AP {task}, {args.images} images x {args.detections} detections: "
                f"{_compared(run, inputs, task, args.repeats, name)}",
                flush=True,
            )
    return 0


def _compared(
    run: Callable[..., float],
    inputs: tuple[dict[str, Any], list[Any]],
    task: Literal["bbox", "segm"],
    repeats: int,
    name: str,
) -> str:
    ratios = []
    for _ in range(repeats):
        # The references write into what they are given.
        copied = copy.deepcopy(inputs)
        start = time.process_time()
        expected = run(*copied, task)
        middle = time.process_time()
        value = ours(*inputs, task)
        own = time.process_time() - middle
        assert abs(value - expected) < 1e-9, (name, value, expected)
        ratios.append((middle - start) / own)
    ratio = statistics.median(ratios)
    return f"ours {own:.2f} s, {name} / ours {ratio:.1f}, AP {value:.3f} equal"


if __name__ == "__main__":
    sys.exit(main())
