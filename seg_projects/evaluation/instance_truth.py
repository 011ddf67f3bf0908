"""The ground truth of a data set in the COCO instances format, by image."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
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
