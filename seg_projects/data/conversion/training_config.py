"""The config that trains with a converted data set: its parts, class counts and sizes."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seg_projects.data.conversion.image_files import displayed_size, find_image, read_json
from seg_projects.data.conversion.parts import Format, Part
from seg_projects.errors import UserError

Content = dict[str, Any]

# From scratch on small images, below the folder of configs: a first result without a GPU.
SMALL_BASES: dict[Format, str] = {
    "panoptic": "base_panoptic_fpn.yaml",
    "instances": "base_mask_rcnn.yaml",
    "label-maps": "base_semantic.yaml",
}
# From weights learnt on COCO or ImageNet, which are downloaded: for a GPU.
LARGE_BASES: dict[Format, str] = {
    "panoptic": "own/panoptic_fpn.yaml",
    "instances": "own/mask_rcnn.yaml",
    "label-maps": "masks/deeplabv3plus.yaml",
}
# Short sides of small images, in pixels.
_SHORTEST, _LONGEST = 256, 640
_STRIDE = 64  # of the coarsest map: smaller images have no pixel there
# Pixels across the median object below which small images are not made smaller.
_SMALLEST_OBJECT = 24
_DETECTIONS = 100  # of an image, Detectron2's limit
_ITERATIONS = 1000


def declaration(parts: Sequence[Part], kind: Format) -> Content:
    """``DATASETS`` and the class counts of ``MODEL``, for any config of that kind of task.

    Args:
        parts: to train with and, if there are two, to test with.
        kind: the format that they were written in.

    Raises:
        UserError: the data have no things, so that there is no instance to learn.
    """
    categories = parts[0].categories()
    root = parts[0].output.root.resolve()
    names = [f"{root.name}_{part.name}" for part in parts]
    group, fields, counts = {
        "panoptic": ("PANOPTIC", _panoptic_fields, _panoptic_counts),
        "instances": ("INSTANCES", _instance_fields, _instance_counts),
        "label-maps": ("SEMANTIC", _semantic_fields, _semantic_counts),
    }[kind]
    entries = [{"NAME": n, **fields(part)} for n, part in zip(names, parts, strict=True)]
    return {
        "DATASETS": {"ROOT": str(root), group: entries, "TRAIN": names[:1], "TEST": names[1:]},
        "MODEL": counts(categories, parts[0].listing),
    }


def _instance_fields(part: Part) -> Content:
    return {"IMAGES": part.output.images.name, "INSTANCES_JSON": part.listing.name}


def _panoptic_fields(part: Part) -> Content:
    return {
        "IMAGES": part.output.images.name,
        "PANOPTIC_JSON": part.listing.name,
        "PANOPTIC_MASKS": part.output.masks.name,
    }


def _semantic_fields(part: Part) -> Content:
    return {
        "IMAGES": part.output.images.name,
        "LABELS": part.output.masks.name,
        "CLASSES": [category["name"] for category in part.categories()],
        "STEMS": part.listing.name,
    }


def _instance_counts(categories: Sequence[Content], listing: Path) -> Content:
    if not categories:
        raise UserError(f"{listing} has no things: there is nothing to train for.")
    return {"ROI_HEADS": {"NUM_CLASSES": len(categories)}}


def _panoptic_counts(categories: Sequence[Content], listing: Path) -> Content:
    things = sum(category["isthing"] for category in categories)
    if not things:
        raise UserError(f"{listing} has stuff alone: convert --to label-maps to train with it.")
    return {
        "ROI_HEADS": {"NUM_CLASSES": things},
        "SEM_SEG_HEAD": {"NUM_CLASSES": len(categories) - things + 1},
    }


def _semantic_counts(categories: Sequence[Content], listing: Path) -> Content:
    return {"SEM_SEG_HEAD": {"NUM_CLASSES": len(categories)}}


def small_settings(part: Part, kind: Format) -> Content:
    """Sizes of images, anchors and training for a first result without a GPU, from ``part``."""
    heights, widths, boxes, most = _measure(part)
    short, long = np.minimum(heights, widths), np.maximum(heights, widths)
    side = float(np.median(short))
    scale = min(1.0, _SHORTEST / side)
    if len(boxes):
        # Where objects are small, images stay larger.
        scale = min(1.0, max(scale, _SMALLEST_OBJECT / float(np.median(boxes))))
    test = max(_STRIDE, round(min(side * scale, _LONGEST)))
    scale = test / side
    longest = round(test * min(3.0, float((long / short).max())))
    content: Content = {
        "INPUT": {
            "MIN_SIZE_TRAIN": sorted(
                {max(_STRIDE, round(test * share)) for share in (0.85, 1.0, 1.15)}
            ),
            "MAX_SIZE_TRAIN": round(longest * 1.15),
            "MIN_SIZE_TEST": test,
            "MAX_SIZE_TEST": longest,
        },
        "SOLVER": {
            "IMS_PER_BATCH": 4 if kind == "label-maps" else 2,
            "MAX_ITER": _ITERATIONS,
            "CHECKPOINT_PERIOD": _ITERATIONS // 2,
        },
        "DATALOADER": {"NUM_WORKERS": 2},
    }
    if kind == "label-maps":
        content["MODEL"] = {"UNET": {"CHANNELS": [16, 32, 64, 128, 256]}}
        return content
    if len(boxes):
        content["MODEL"] = {"ANCHOR_GENERATOR": {"SIZES": _anchor_sizes(boxes * scale)}}
    if most > _DETECTIONS:
        content["TEST"] = {"DETECTIONS_PER_IMAGE": round(most * 1.2)}
    return content


def _anchor_sizes(boxes: np.ndarray) -> list[list[int]]:
    """One size for each of the five maps, even steps over the sizes of most objects, in pixels."""
    low, high = np.percentile(boxes, (10, 90))
    return [[max(4, round(size))] for size in np.geomspace(low, max(high, 2 * low), 5).tolist()]


def _measure(part: Part) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Heights and widths of the images, square roots of the boxes' areas, most objects in one."""
    if part.listing.suffix != ".json":
        stems = part.listing.read_text(encoding="utf-8").splitlines()
        files = [find_image(part.output.images, stem) for stem in stems]
        sizes = np.asarray([displayed_size(file) for file in files if file is not None])
        return sizes[:, 0], sizes[:, 1], np.zeros(0), 0
    content = read_json(part.listing)
    things = {c["id"] for c in content["categories"] if c.get("isthing", 1)}
    counts: Counter[Any] = Counter()
    boxes = []
    for annotation in content["annotations"]:
        for item in annotation.get("segments_info", [annotation]):
            if item["category_id"] in things:
                counts[annotation["image_id"]] += 1
                boxes.append(item["bbox"][2] * item["bbox"][3])
    sizes = np.asarray([(image["height"], image["width"]) for image in content["images"]])
    return sizes[:, 0], sizes[:, 1], np.sqrt(boxes), max(counts.values(), default=0)


def config_text(
    parts: Sequence[Part], kind: Format, *, configs: Path, base: Path | None, file: Path
) -> str:
    """The YAML of a config that trains with ``parts``.

    Args:
        parts: to train with and, if there are two, to test with.
        kind: the format that they were written in.
        configs: the folder of the configs to start from.
        base: the config to start from, as it is; None takes a small one, with sizes that fit.
        file: where the text is to be written: its stem names the output folder.
    """
    content = declaration(parts, kind)
    lines = [f"# Trains with {parts[0].listing}."]
    if base is None:
        large = _from_folder(configs / LARGE_BASES[kind], Path.cwd())
        lines.append("# From scratch on small images: a first result without a GPU. With one, take")
        lines.append(f"# --config-base {large}, which begins with weights.")
        for key, value in small_settings(parts[0], kind).items():
            content[key] = content.get(key, {}) | value
    if len(parts) == 1:
        lines.append("# Nothing to test with: --held-out 0.2, or a part --name val, gives that.")
    start = _from_folder((base or configs / SMALL_BASES[kind]).resolve(), file.resolve().parent)
    content = {"_BASE_": start, **content, "OUTPUT_DIR": f"output/{file.stem}"}
    return "\n".join(lines) + "\n" + yaml_text(content)


def yaml_text(content: Content) -> str:
    """``content`` as YAML, innermost lists and dicts in one line."""
    return yaml.safe_dump(
        content, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )


def _from_folder(path: Path, folder: Path) -> str:
    """``path`` from ``folder`` on, where it lies in that."""
    shown = os.path.relpath(path, folder)
    return str(path) if shown.startswith("..") else shown
