#!/usr/bin/env python
"""The data doctor beside decoding the same files and doing nothing with them.

python bench/bench_doctor.py --images 2000 --threads 2

The ratio is the time of plain decoding by ours: 0.5 means that all checks double it. Files are
generated: photographs' size (640 x 480), ten objects with polygons, a PNG of ids each.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _compare import build_parser, measure, write_results
from PIL import Image

from seg_projects.data.conversion.coco_panoptic import areas_and_boxes
from seg_projects.data.doctor import inspect_data
from seg_projects.data.panoptic_ids import rgb_from_ids

WIDTH, HEIGHT = 640, 480
NUM_PICTURES = 24
NUM_OBJECTS = 10


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, writes the files, times, prints."""
    parser = build_parser(__doc__)
    parser.add_argument("--images", type=int, default=2000, help="files (default 2000)")
    args = parser.parse_args(argv)
    number = 8 if args.quick else args.images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        instances, panoptic = write_files(folder, number)
        images = sorted((folder / "images").iterdir())
        masks = sorted((folder / "masks").iterdir())
        results = []
        for title, content, files in (
            ("COCO instances", instances, images),
            ("COCO panoptic", panoptic, images + masks),
        ):

            def inspect(content: dict[str, Any] = content) -> None:
                found = inspect_data(
                    content, folder / "images", folder / "masks", workers=args.threads
                )
                assert not found, found[:3]

            def decode(files: list[Path] = files) -> None:
                with ThreadPoolExecutor(args.threads) as pool:
                    list(pool.map(_decode, files))

            results.append(
                measure(f"{title}, {number} images", _timed(inspect), _timed(decode), args)
            )
            print(results[-1].line(), flush=True)
        write_results(results, args)


def _timed(work: Callable[[], None]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def write_files(folder: Path, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes images and PNG files; returns the content of an instances and a panoptic file."""
    pictures = [_picture(seed) for seed in range(min(number, NUM_PICTURES))]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    images, annotations, segmented = [], [], []
    for i in range(number):
        jpeg, png, polygons, segments = pictures[i % len(pictures)]
        # Behind the end of the picture: equal pictures in files of different content.
        (folder / "images" / f"{i:06}.jpg").write_bytes(jpeg + str(i).encode())
        (folder / "masks" / f"{i:06}.png").write_bytes(png)
        images.append({"id": i, "file_name": f"{i:06}.jpg", "height": HEIGHT, "width": WIDTH})
        annotations += [
            polygon | {"id": len(polygons) * i + k + 1, "image_id": i}
            for k, polygon in enumerate(polygons)
        ]
        segmented.append({"image_id": i, "file_name": f"{i:06}.png", "segments_info": segments})
    categories = [{"id": 1, "name": "thing", "isthing": 1}]
    return (
        {"images": images, "annotations": annotations, "categories": categories},
        {"images": images, "annotations": segmented, "categories": categories},
    )


def _picture(seed: int) -> tuple[bytes, bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """A JPEG, a PNG of ids, the polygons and the segments of one scene."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)).astype(int)
    pixels = np.clip(smooth + rng.integers(-12, 13, smooth.shape), 0, 255).astype(np.uint8)
    jpeg = io.BytesIO()
    Image.fromarray(pixels).save(jpeg, "JPEG", quality=90)
    ids = np.zeros((HEIGHT, WIDTH), np.int32)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    polygons = []
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    for k in range(NUM_OBJECTS):
        cx, cy, r = 60 + 55 * k, int(rng.integers(90, 380)), int(rng.integers(15, 26))
        outline = np.stack([cx + r * np.cos(angles), cy + r * np.sin(angles)], axis=1)
        ids[(x - cx) ** 2 + (y - cy) ** 2 < r * r] = k + 1
        polygons.append(
            {
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": [outline.ravel().round(2).tolist()],
                "bbox": [cx - r, cy - r, 2 * r, 2 * r],
                "area": float(np.pi * r * r),
            }
        )
    segments = [
        {"id": k, "category_id": 1, "iscrowd": 0, "area": area, "bbox": box}
        for k, (area, box) in enumerate(
            zip(*areas_and_boxes(ids, NUM_OBJECTS), strict=True), start=1
        )
    ]
    png = io.BytesIO()
    Image.fromarray(rgb_from_ids(ids)).save(png, "PNG")
    return jpeg.getvalue(), png.getvalue(), polygons, segments


if __name__ == "__main__":
    main()
