"""The ground truth of a data set of instances, by image: of a COCO file, or of records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from seg_projects.data.categories import output_categories
from seg_projects.data.datasets.instances import read_instances_json
from seg_projects.errors import UserError


class InstanceGroundTruth:
    """Annotations by image id and their categories."""

    def __init__(self, dataset_name: str) -> None:
        """Reads the JSON that the metadata of ``dataset_name`` names."""
        self.metadata = MetadataCatalog.get(dataset_name)
        content = read_instances_json(Path(self.metadata.instances_json))
        self.thing_ids: dict[int, int] = self.metadata.thing_dataset_id_to_contiguous_id
        self.names = list(self.metadata.thing_classes)
        self._file_names = {i["id"]: i["file_name"] for i in content["images"]}
        self._sizes = {i["id"]: (i["height"], i["width"]) for i in content["images"]}
        self._annotations: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for annotation in content["annotations"]:
            self._annotations[annotation["image_id"]].append(annotation)

    def file_name(self, image_id: int) -> str:
        """The name of an image."""
        return self._file_names[image_id]

    def instance_annotations(self, image_id: int) -> list[dict[str, Any]]:
        """COCO annotations of one image, masks as compressed RLE."""
        if image_id not in self._sizes:
            raise UserError(f"Image {image_id} is not in {self.metadata.instances_json}.")
        size = self._sizes[image_id]
        return [with_compressed_mask(row, size) for row in self._annotations[image_id]]


class RecordGroundTruth:
    """The annotations that a data set's records carry, where there is no file of them.

    Category ids are those of :func:`output_categories`.
    """

    def __init__(self, dataset_name: str) -> None:
        """Loads the records of ``dataset_name``."""
        self._records = {r["image_id"]: r for r in DatasetCatalog.get(dataset_name)}
        self.metadata = MetadataCatalog.get(dataset_name)
        self.thing_ids = output_categories(self.metadata).thing_ids
        self.names = list(self.metadata.thing_classes)
        self._category_ids = {label: category for category, label in self.thing_ids.items()}

    def file_name(self, image_id: int | str) -> str:
        """The image's file."""
        return str(self._records[image_id]["file_name"])

    def instance_annotations(self, image_id: int | str) -> list[dict[str, Any]]:
        """COCO annotations of one image, masks as compressed RLE; they have no ``id``.

        Where an annotation has no mask, its box stands for it.
        """
        from pycocotools import mask as coco_mask

        record = self._records[image_id]
        rows = []
        for annotation in record["annotations"]:
            x, y, width, height = BoxMode.convert(
                annotation["bbox"], annotation["bbox_mode"], BoxMode.XYWH_ABS
            )
            corners = [x, y, x + width, y, x + width, y + height, x, y + height]
            row = {
                "image_id": image_id,
                "category_id": self._category_ids[annotation["category_id"]],
                "iscrowd": annotation.get("iscrowd", 0),
                "bbox": [x, y, width, height],
                "segmentation": annotation.get("segmentation", [corners]),
            }
            row = with_compressed_mask(row, (record["height"], record["width"]))
            rows.append(row | {"area": float(coco_mask.area(row["segmentation"]))})
        return rows


InstanceTruth = InstanceGroundTruth | RecordGroundTruth


def instance_truth(dataset_name: str) -> InstanceTruth:
    """The truth of a data set of instances: its COCO file, or its records where it has none."""
    has_file = MetadataCatalog.get(dataset_name).get("instances_json") is not None
    return (InstanceGroundTruth if has_file else RecordGroundTruth)(dataset_name)


def with_compressed_mask(entry: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    """A copy of ``entry`` whose polygons or uncompressed counts are one compressed RLE.

    ``size`` is the image's (height, width).
    """
    from pycocotools import mask as coco_mask

    mask = entry["segmentation"]
    if isinstance(mask, list):
        return {**entry, "segmentation": coco_mask.merge(coco_mask.frPyObjects(mask, *size))}
    if isinstance(mask["counts"], list):
        return {**entry, "segmentation": coco_mask.frPyObjects(mask, *size)}
    return dict(entry)
