"""The shapes data set: synthetic scenes as files in COCO's panoptic format, made in seconds.

    <root>/shapes/train/0000001.jpg                         images, likewise val/
    <root>/shapes/annotations/panoptic_train.json           images, annotations, categories
    <root>/shapes/annotations/panoptic_train/0000001.png    segment ids as R + 256 G + 65536 B

Two rules decide what is annotated. A thing that others hide entirely has no segment. A visible
remainder of less than 8 % of the shape's own area inside the frame, or of less than 1/1500 of the
image (at least 4 pixels), is void (id 0), and so are regions of stuff below the latter size.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seg_projects.data.datasets import shapes_scene as scene
from seg_projects.errors import UserError
from seg_projects.files import remove_stale_files, scratch_folder

logger = logging.getLogger(__name__)

GENERATOR_VERSION = 1
"""Raised with every change of the files that equal parameters give; older sets are made again."""

# The ids have gaps, and stuff does not follow on things, as in COCO: code that takes ids for
# indices fails at once.
SHAPES_CATEGORIES: tuple[dict[str, Any], ...] = (
    {"id": 1, "name": "disc", "supercategory": "shape", "isthing": 1, "color": [230, 82, 88]},
    {"id": 3, "name": "box", "supercategory": "shape", "isthing": 1, "color": [245, 166, 35]},
    {"id": 7, "name": "star", "supercategory": "shape", "isthing": 1, "color": [165, 94, 234]},
    {"id": 20, "name": "sky", "supercategory": "land", "isthing": 0, "color": [120, 190, 235]},
    {"id": 21, "name": "grass", "supercategory": "land", "isthing": 0, "color": [108, 178, 78]},
    {"id": 25, "name": "water", "supercategory": "land", "isthing": 0, "color": [38, 120, 168]},
)
_ID_OF_NAME: dict[str, int] = {c["name"]: c["id"] for c in SHAPES_CATEGORIES}
_STUFF_NAMES = {scene.SKY: "sky", scene.GRASS: "grass", scene.WATER: "water"}
_SPLITS = {"train": 0, "val": 1}
_MAX_SCENES = 1_000_000
_JPEG_QUALITY = 92


class ShapesScene(NamedTuple):
    """One annotated scene."""

    image_rgb: NDArray[np.uint8]
    """(H, W, 3)."""
    segment_ids: NDArray[np.int32]
    """(H, W) in [1, 2**24), 0 is void."""
    segments_info: list[dict[str, Any]]
    """COCO's records: id, category_id, area in pixels, bbox as [x, y, width, height], iscrowd."""


def render_scene(split: str, index: int, *, size: tuple[int, int], seed: int) -> ShapesScene:
    """Renders and annotates scene ``index`` of a split; it depends on the four arguments alone.

    Args:
        split: "train" or "val".
        index: Position in the split, from 0.
        size: (H, W) in pixels, each at least 32.
        seed: Of the whole data set, not negative.
    """
    rng = np.random.default_rng([seed, _SPLITS[split], index])
    layers = scene.render_layers(rng, size)
    things = range(scene.FIRST_THING, scene.FIRST_THING + len(layers.kinds))
    names = _STUFF_NAMES | dict(zip(things, layers.kinds, strict=True))
    visible = np.bincount(layers.layer_map.ravel(), minlength=len(names))
    smallest = np.full(len(names), max(4, layers.layer_map.size // 1500))
    smallest[scene.FIRST_THING :] = np.maximum(
        smallest[scene.FIRST_THING :], np.ceil(0.08 * np.array(layers.own_areas))
    )
    id_of_layer = np.zeros(len(names), np.int32)
    segments: list[dict[str, Any]] = []
    for layer in np.flatnonzero(visible >= smallest).tolist():
        category_id = _ID_OF_NAME[names[layer]]
        id_of_layer[layer] = _new_segment_id(rng, category_id, id_of_layer)
        segments.append(
            {
                "id": int(id_of_layer[layer]),
                "category_id": category_id,
                "area": int(visible[layer]),
                "bbox": _box_xywh(layers.layer_map == layer),
                "iscrowd": 0,
            }
        )
    return ShapesScene(layers.image_rgb, id_of_layer[layers.layer_map], segments)


def _new_segment_id(rng: np.random.Generator, category_id: int, taken: NDArray[np.int32]) -> int:
    """An unused id that, read as a colour, lies near its category's: the PNG files are legible."""
    color = next(c["color"] for c in SHAPES_CATEGORIES if c["id"] == category_id)
    while True:
        red, green, blue = np.clip(np.add(color, rng.integers(-30, 31, 3)), 0, 255).tolist()
        segment_id = red + 256 * green + 65536 * blue
        if segment_id and segment_id not in taken:
            return segment_id


def _box_xywh(mask: NDArray[np.bool_]) -> list[int]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def prepare_shapes(
    root: Path,
    *,
    num_train: int = 400,
    num_val: int = 50,
    size: tuple[int, int] = (128, 160),
    seed: int = 0,
) -> Path:
    """Writes the data set below ``root`` and returns its folder, ``root / "shapes"``.

    Equal arguments give identical files (on one machine, with the same libraries). A complete set
    made with the same arguments is left alone; one made with others is replaced. The new set
    takes its place by renames: an interruption leaves the former set or none, never part of one.

    Args:
        root: Where data sets lie, in Detectron2 the folder that ``DETECTRON2_DATASETS`` names.
        num_train: Scenes in the training split, at least 1.
        num_val: Scenes in the validation split, at least 1.
        size: (H, W) of each image in pixels, each at least 32.
        seed: Not negative.

    Raises:
        UserError: an argument is out of range, or the folder holds something else.
    """
    parameters = _checked_parameters(num_train=num_train, num_val=num_val, size=size, seed=seed)
    folder = Path(root) / "shapes"
    remove_stale_files(folder.parent)
    found = _recorded_parameters(folder)
    if found == parameters and _is_complete(folder):
        return folder
    if found is None and folder.is_dir() and any(folder.iterdir()):
        raise UserError(
            f"{folder} holds files that are no shapes data set; move them away or choose another "
            f"root than {root}."
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(folder) as scratch:
        fresh = scratch / "fresh"
        for split, count in (("train", num_train), ("val", num_val)):
            _write_split(fresh, split, count, parameters)
        if folder.exists():
            folder.rename(scratch / "former")
        fresh.rename(folder)
    logger.info("Wrote %d training and %d validation scenes to %s", num_train, num_val, folder)
    return folder


def _checked_parameters(
    *, num_train: int, num_val: int, size: tuple[int, int], seed: int
) -> dict[str, Any]:
    """What the files depend on, as it stands in the ``info`` of both JSON files."""
    for name, count in (("num_train", num_train), ("num_val", num_val)):
        if not 1 <= count <= _MAX_SCENES:
            raise UserError(f"{name}={count} is outside [1, {_MAX_SCENES}].")
    height, width = size
    if min(size) < 32:
        raise UserError(f"size={height}x{width} is too small for the shapes; use 32x32 or more.")
    if seed < 0:
        raise UserError(f"seed={seed} is negative; use 0 or more.")
    return {
        "generator_version": GENERATOR_VERSION,
        "num_train": num_train,
        "num_val": num_val,
        "size": [height, width],
        "seed": seed,
    }


def _recorded_parameters(folder: Path) -> Mapping[str, Any] | None:
    """The parameters that the files in ``folder`` were made with; None if it is no such set."""
    try:
        text = (folder / "annotations" / "panoptic_val.json").read_text(encoding="utf-8")
        return json.loads(text)["info"]["parameters"]
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, json.JSONDecodeError):
        return None


def _is_complete(folder: Path) -> bool:
    """Whether every file is there that the two JSON files list."""
    return all(path.is_file() for split in _SPLITS for path in _listed_files(folder, split))


def _listed_files(folder: Path, split: str) -> Iterator[Path]:
    json_file = folder / "annotations" / f"panoptic_{split}.json"
    yield json_file
    listing = json.loads(json_file.read_text(encoding="utf-8"))
    for image in listing["images"]:
        yield folder / split / image["file_name"]
    for annotation in listing["annotations"]:
        yield folder / "annotations" / f"panoptic_{split}" / annotation["file_name"]


def _write_split(folder: Path, split: str, count: int, parameters: Mapping[str, Any]) -> None:
    from PIL import Image

    image_dir = folder / split
    map_dir = folder / "annotations" / f"panoptic_{split}"
    image_dir.mkdir(parents=True)
    map_dir.mkdir(parents=True)
    height, width = parameters["size"]
    images, annotations = [], []
    for index in range(count):
        made = render_scene(split, index, size=(height, width), seed=parameters["seed"])
        image_id = _SPLITS[split] * _MAX_SCENES + index + 1  # unique over both splits
        image_name, map_name = f"{image_id:07d}.jpg", f"{image_id:07d}.png"
        Image.fromarray(made.image_rgb).save(image_dir / image_name, quality=_JPEG_QUALITY)
        digits = made.segment_ids[..., None] >> np.array([0, 8, 16], np.int32) & 255
        Image.fromarray(digits.astype(np.uint8)).save(map_dir / map_name)
        images.append({"id": image_id, "file_name": image_name, "height": height, "width": width})
        annotations.append(
            {"image_id": image_id, "file_name": map_name, "segments_info": made.segments_info}
        )
    listing = {
        "info": {
            "description": f"Synthetic shapes for panoptic segmentation, {split} split",
            "version": str(GENERATOR_VERSION),
            "parameters": parameters,
        },
        "licenses": [
            {
                "id": 1,
                "name": "CC0 1.0",
                "url": "https://creativecommons.org/publicdomain/zero/1.0/",
            }
        ],
        "images": [image | {"license": 1} for image in images],
        "annotations": annotations,
        "categories": SHAPES_CATEGORIES,
    }
    json_file = folder / "annotations" / f"panoptic_{split}.json"
    json_file.write_text(json.dumps(listing), encoding="utf-8")
