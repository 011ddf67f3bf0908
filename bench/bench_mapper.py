#!/usr/bin/env python
"""The mapper of training data: read, decode, resize to a short side, flip, annotations.

python bench/bench_mapper.py --reference-python PATH
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _compare import Case, Tolerance, build_parser, compare

SHORT_SIDES = (320, 480, 800)
OBJECTS = 10


def mapping(paths: list[str], height: int, width: int, short_side: int) -> Callable[[], Any]:
    """Maps all images once."""
    from detectron2.config import get_cfg
    from detectron2.data import DatasetMapper

    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN = (short_side,)
    return _run(DatasetMapper(cfg, is_train=True), paths, height, width)


def _run(
    mapper: Callable[[Any], Any], paths: list[str], height: int, width: int
) -> Callable[[], Any]:
    records = [_record(path, height, width) for path in paths]

    def run() -> dict[str, Any]:
        np.random.seed(0)  # noqa: NPY002  # of the flips
        mapped = [mapper(record) for record in records]
        return {
            "first image": mapped[0]["image"].numpy(),
            "last image": mapped[-1]["image"].numpy(),
            "boxes": mapped[-1]["instances"].gt_boxes.tensor.numpy(),
        }

    return run


def our_mapping(paths: list[str], height: int, width: int, short_side: int) -> Callable[[], Any]:
    """The same work of ``seg_projects``' own mapper, whichever Detectron2 it runs on."""
    from detectron2.config import get_cfg
    from seg_projects.config import add_seg_projects_config
    from seg_projects.data import InstanceMapper

    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.MODEL.MASK_ON = True
    cfg.INPUT.MIN_SIZE_TRAIN = (short_side,)
    return _run(InstanceMapper(cfg, is_train=True), paths, height, width)


def _record(path: str, height: int, width: int) -> dict[str, Any]:
    from detectron2.structures import BoxMode

    random = np.random.default_rng(0)
    annotations = []
    for x, y in random.uniform(0, 0.5, (OBJECTS, 2)) * [width, height]:
        w, h = random.uniform(0.1, 0.4, 2) * [width, height]
        annotations.append(
            {
                "bbox": [x, y, w, h],
                "bbox_mode": BoxMode.XYWH_ABS,
                "category_id": 0,
                "iscrowd": 0,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
        )
    return {
        "file_name": path,
        "height": height,
        "width": width,
        "image_id": 0,
        "annotations": annotations,
    }


def write_images(folder: Path, number: int, height: int, width: int) -> list[str]:
    """Writes JPEGs with structure at several scales; returns their paths."""
    from PIL import Image

    paths = []
    for seed in range(number):
        random = np.random.default_rng(seed)
        coarse = random.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noise = random.normal(0, 8, (height, width, 3))
        pixels = (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)
        paths.append(str(folder / f"{seed}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def main(argv: Sequence[str] | None = None) -> None:
    """Parses the arguments, times, prints."""
    args = build_parser(__doc__).parse_args(argv)
    height, width, number = (48, 64, 1) if args.quick else (480, 640, 8)
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "paths": write_images(Path(folder), number, height, width),
            "height": height,
            "width": width,
        }
        cases = [
            Case(
                name=f"{mapper}, {number} JPEGs {width}x{height}, short side {side}",
                function=function,
                reference_function="mapping",
                settings={**settings, "short_side": side},
                # Boxes, up to the rounding of float32; pixels, up to one grey level.
                tolerance=Tolerance(relative=1e-6, levels=1),
            )
            for mapper, function in (("runtime", "mapping"), ("seg_projects", "our_mapping"))
            for side in (SHORT_SIDES[:1] if args.quick else SHORT_SIDES)
        ]
        compare(__file__, cases, args)


if __name__ == "__main__":
    main()
