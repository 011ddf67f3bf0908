#!/usr/bin/env python
"""Times PQ of two folders of PNGs beside panopticapi, where it is installed, on one core each.

python bench/bench_pq.py --images 40
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = [{"id": c, "name": str(c), "isthing": int(c <= 80)} for c in range(1, 134)]


def write_side(folder: Path, images: int, shift: int) -> Path:
    """Scenes of about 20 overlapping boxes, 480 x 640, moved by ``shift`` pixels."""
    from seg_projects.data.panoptic_ids import rgb_from_ids

    (folder / "masks").mkdir(parents=True)
    annotations: list[dict[str, Any]] = []
    for number in range(images):
        rng = np.random.default_rng(number)
        ids = np.zeros((480, 640), dtype=np.int32)
        for place in range(1, 26):
            (y, x), (height, width) = rng.integers(0, 400, 2), rng.integers(30, 300, 2)
            ids[y : y + height, x + shift : x + shift + width] = place * 1009
        present, areas = np.unique(ids[ids > 0], return_counts=True)
        segments = [
            {"id": i, "category_id": 1 + i % 133, "iscrowd": 0, "area": area}
            for i, area in zip(present.tolist(), areas.tolist(), strict=True)
        ]
        name = f"{number}.png"
        Image.fromarray(rgb_from_ids(ids)).save(folder / "masks" / name)
        annotations.append({"image_id": number, "file_name": name, "segments_info": segments})
    path = folder / "panoptic.json"
    content = {"images": [], "annotations": annotations, "categories": CATEGORIES}
    path.write_text(json.dumps(content))
    return path


def panopticapi_pq(truth: Path, predicted: Path) -> float:
    """PQ in percent, in this process: its pool would be started and never closed."""
    from panopticapi.evaluation import pq_compute_single_core

    contents = [json.loads(path.read_text()) for path in (truth, predicted)]
    pairs = list(zip(*(content["annotations"] for content in contents), strict=True))
    categories = {c["id"]: c for c in CATEGORIES}
    folders = [str(path.parent / "masks") for path in (truth, predicted)]
    with contextlib.redirect_stdout(io.StringIO()):
        stat = pq_compute_single_core(0, pairs, *folders, categories)
    return 100 * float(stat.pq_average(categories, isthing=None)[0]["pq"])


def our_pq(truth: Path, predicted: Path) -> float:
    """PQ in percent."""
    from seg_projects.evaluation.panoptic_files import evaluate_panoptic_files

    sides = (truth, truth.parent / "masks", predicted, predicted.parent / "masks")
    return evaluate_panoptic_files(*sides).summary["PQ"]


def main(argv: Sequence[str] | None = None) -> int:
    """Prints our time per image and, where there is panopticapi, its ratio to ours."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args(argv)
    try:
        import panopticapi.evaluation
    except ImportError:
        compared = False
    else:
        compared = bool(panopticapi.evaluation)
    with tempfile.TemporaryDirectory() as folder:
        truth = write_side(Path(folder, "truth"), args.images, 0)
        predicted = write_side(Path(folder, "predicted"), args.images, 12)
        our_pq(truth, predicted)  # imports
        own, ratios = [], []
        for _ in range(args.repeats):
            start = time.perf_counter()
            value = our_pq(truth, predicted)
            middle = time.perf_counter()
            own.append(middle - start)
            if compared:
                expected = panopticapi_pq(truth, predicted)
                ratios.append((time.perf_counter() - middle) / own[-1])
                assert abs(value - expected) < 1e-9, (value, expected)
    line = f"PQ of files, 480x640: ours {1e3 * statistics.median(own) / args.images:.1f} ms/image"
    if compared:
        line += f", panopticapi / ours {statistics.median(ratios):.1f}, PQ {value:.3f} equal"
    print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
