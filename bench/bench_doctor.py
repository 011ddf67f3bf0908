#!/usr/bin/env python
"""The data doctor beside decoding the same files and doing nothing with them.

python bench/bench_doctor.py --images 2000 --threads 2

The ratio is the time of plain decoding by ours: 0.5 means that all checks double it. Files are
generated: photographs' size (640 x 480), each picture another one but for every hundredth, which is
a smaller copy of the one before; ten objects with polygons, a PNG of ids each. Beside the times,
the most memory that the process held so far is printed.
"""

from __future__ import annotations

import io
import resource
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
NUM_SCENES = 24
COPY_EVERY = 100
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
                kinds = [f.kind for f in found]
                assert kinds == ["near-duplicate image"] * (number // COPY_EVERY), found[:3]

            def decode(files: list[Path] = files) -> None:
                with ThreadPoolExecutor(args.threads) as pool:
                    list(pool.map(_decode, files))

            results.append(
                measure(f"{title}, {number} images", _timed(inspect), _timed(decode), args)
            )
            print(results[-1].line(), f"{_peak_mib():.0f} MiB at most", flush=True)
        write_results(results, args)


def _timed(work: Callable[[], None]) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return run


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


def _decode(path: Path) -> None:
    with Image.open(path) as image:
        image.load()


def write_files(folder: Path, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes images and PNG files; returns the content of an instances and a panoptic file."""
    scenes = [_scene(seed) for seed in range(min(number, NUM_SCENES))]
    for name in ("images", "masks"):
        (folder / name).mkdir()
    images, annotations, segmented = [], [], []
    for i in range(number):
        png, polygons, segments = scenes[i % len(scenes)]
        scale = 2 if i % COPY_EVERY == COPY_EVERY - 1 else 1
        picture = _picture(i - scale + 1).resize((WIDTH // scale, HEIGHT // scale))
        # Shown in the size of the original, so that the objects fit.
        picture.resize((WIDTH, HEIGHT)).save(folder / "images" / f"{i:06}.jpg", quality=88)
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


def _picture(seed: int) -> Image.Image:
    """As many details as a photograph, and as large a file."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    fine = Image.fromarray(rng.integers(0, 256, (HEIGHT // 3, WIDTH // 3, 3), dtype=np.uint8))
    size = (WIDTH, HEIGHT)
    return Image.blend(coarse.resize(size, Image.Resampling.BICUBIC), fine.resize(size), 0.15)


def _scene(seed: int) -> tuple[bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """A PNG of ids, the polygons and the segments of ten objects."""
    rng = np.random.default_rng(seed)
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
    return png.getvalue(), polygons, segments


if __name__ == "__main__":
    main()
