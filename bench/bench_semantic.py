#!/usr/bin/env python
r"""Times semantic evaluation, from logits to counts, beside Detectron2's SemSegEvaluator.

python bench/bench_semantic.py --reference-python PATH

Theirs writes no boundary IoU beyond 254 classes and is asked for what it always does; ours is timed
with the scores of pixels alone, with and without numba, and with boundary IoU as well.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _compare import Case, build_parser, compare
from PIL import Image

NAME = "bench_semantic"
SIZES = ((54, 480, 640), (19, 1024, 2048))
CELL = 48
"""Side of the squares of equal classes, in pixels."""


def _registered(classes: int, height: int, width: int) -> tuple[Any, Any, Any]:
    """A data set of one image: its folder, input and output."""
    import torch

    from detectron2.data import DatasetCatalog, MetadataCatalog

    folder = tempfile.TemporaryDirectory()
    rng = np.random.default_rng(0)
    cells = rng.integers(0, classes, (-(-height // CELL), -(-width // CELL)), dtype=np.uint8)
    labels = cells.repeat(CELL, axis=0).repeat(CELL, axis=1)[:height, :width].copy()
    logits = rng.normal(size=(classes, height, width)).astype(np.float32)
    np.put_along_axis(logits, np.roll(labels, 5, axis=1)[None].astype(np.int64), 4.0, axis=0)
    labels[:5] = 255
    path = str(Path(folder.name, "labels.png"))
    Image.fromarray(labels).save(path, compress_level=1)
    record = {"file_name": "image.jpg", "sem_seg_file_name": path, "image_id": 0}
    DatasetCatalog.register(NAME, lambda: [record])
    MetadataCatalog.get(NAME).set(stuff_classes=[str(k) for k in range(classes)], ignore_label=255)
    return folder, [record], [{"sem_seg": torch.from_numpy(logits)}]


def theirs(classes: int, height: int, width: int, **ours_alone: Any) -> Callable[[], Any]:
    """Detectron2's evaluator, whatever ours is asked for beside."""
    from detectron2.evaluation import SemSegEvaluator

    folder, inputs, outputs = _registered(classes, height, width)
    return _timed(SemSegEvaluator(NAME, distributed=False), folder, inputs, outputs)


def ours(
    classes: int, height: int, width: int, metrics: Sequence[str] = (), compiled: bool = True
) -> Callable[[], Any]:
    """Our evaluator, with ``metrics`` beside those of pixels."""
    from detectron2.data import MetadataCatalog
    from seg_projects.data.label_maps import class_table
    from seg_projects.evaluation.label_map_truth import LabelMapGroundTruth
    from seg_projects.evaluation.semantic import SemanticEvaluator
    from seg_projects.evaluation.semantic_metrics import build_semantic_metrics

    if not compiled:
        # As if numba were not installed.
        sys.modules["seg_projects.postprocessing.label_kernels"] = None  # type: ignore[assignment]
    folder, inputs, outputs = _registered(classes, height, width)
    table = class_table(classes, value_map=None, ignore_label=255)
    MetadataCatalog.get(NAME).label_table = table
    chosen = build_semantic_metrics(metrics)
    return _timed(SemanticEvaluator(LabelMapGroundTruth(NAME), chosen), folder, inputs, outputs)


def _timed(evaluator: Any, folder: Any, inputs: Any, outputs: Any) -> Callable[[], Any]:
    evaluator.reset()
    evaluator.process(inputs, outputs)
    scores = evaluator.evaluate()["sem_seg"]
    first = {k: np.array([v]) for k, v in scores.items() if k in ("mIoU", "fwIoU", "mACC", "pACC")}

    def run() -> dict[str, Any]:
        assert folder
        evaluator.reset()
        evaluator.process(inputs, outputs)
        return first

    return run


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    variants: dict[str, dict[str, Any]] = {
        "numba": {},
        "numpy": {"compiled": False},
        "numba, boundary IoU": {"metrics": ["boundary_iou"]},
    }
    cases = [
        Case(
            name=f"{name}, {classes} classes, {width}x{height}",
            function="ours",
            reference_function="theirs",
            settings={"classes": classes, "height": height, "width": width, **options},
        )
        for classes, height, width in ([(3, 48, 64)] if args.quick else SIZES)
        for name, options in variants.items()
    ]
    compare(__file__, cases, args)


if __name__ == "__main__":
    main()
