"""Data sets in the COCO instances format: one JSON, a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from seg_projects.data.conversion.coco_instances import read_coco_json
from seg_projects.data.datasets.declared import (
    dataset_root,
    declared_entries,
    forget_dataset,
    require_present,
)
from seg_projects.errors import UserError

REQUIRED_KEYS = ("NAME", "IMAGES", "INSTANCES_JSON")
OPTIONAL_KEYS = ("IMAGE_IDS",)


def declare_instance_datasets(cfg: CfgNode) -> None:
    """Registers every entry of ``cfg.DATASETS.INSTANCES``; the same entry twice is no error."""
    root = dataset_root(cfg)
    for entry in declared_entries(cfg, "INSTANCES", REQUIRED_KEYS, OPTIONAL_KEYS):
        if not isinstance(entry.get("IMAGE_IDS", []), list):
            raise UserError(
                f"DATASETS.INSTANCES {entry['NAME']!r}: IMAGE_IDS is no list of image ids."
            )
        register_instances(
            entry["NAME"],
            image_root=root / entry["IMAGES"],
            instances_json=root / entry["INSTANCES_JSON"],
            image_ids=entry.get("IMAGE_IDS"),
        )


def register_instances(
    name: str,
    *,
    image_root: Path,
    instances_json: Path,
    image_ids: Sequence[int] | None = None,
) -> None:
    """Registers the data set ``name``, its classes taken from the JSON's ``categories``.

    Args:
        name: for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        image_root: folder of the images.
        instances_json: the COCO instances file.
        image_ids: only these images; all of the JSON where None.

    Raises:
        UserError: a path is missing, the JSON is not of this format or lists no categories, an
            image id is not in it.
    """
    require_present(name, paths=(image_root, instances_json))
    content = read_instances_json(instances_json)
    categories = sorted(content["categories"], key=lambda category: category["id"])
    if not categories:
        raise UserError(f"Data set {name!r}: {instances_json} lists no categories.")
    known = {image["id"] for image in content["images"]}
    if absent := [image_id for image_id in image_ids or () if image_id not in known]:
        raise UserError(f"Data set {name!r}: {instances_json} has no image {absent[0]!r}.")
    forget_dataset(name)
    wanted = None if image_ids is None else set(image_ids)

    def load() -> list[dict[str, Any]]:
        records = load_coco_json(str(instances_json), str(image_root), name)
        return [r for r in records if wanted is None or r["image_id"] in wanted]

    DatasetCatalog.register(name, load)
    # Not as `json_file`: Detectron2's functions that ask for it do not know `image_ids`.
    MetadataCatalog.get(name).set(
        image_root=str(image_root),
        instances_json=str(instances_json),
        image_ids=wanted,
        evaluator_type="instances",
        thing_classes=[category["name"] for category in categories],
        thing_dataset_id_to_contiguous_id={c["id"]: i for i, c in enumerate(categories)},
    )


def read_instances_json(path: Path) -> dict[str, Any]:
    """The parsed COCO instances file ``path``, shared between callers: do not change it."""
    return _parse(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parse(path: str, modified_ns: int) -> dict[str, Any]:
    return read_coco_json(Path(path), "bbox", "a COCO instances file")
