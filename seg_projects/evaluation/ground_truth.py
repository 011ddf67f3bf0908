"""The ground truth of a panoptic data set, read image by image and shared by its evaluators."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectron2.data import MetadataCatalog
from seg_projects.data.categories import OutputCategories
from seg_projects.data.datasets.panoptic import read_panoptic_json
from seg_projects.data.panoptic_ids import read_panoptic_ids, semantic_labels
from seg_projects.errors import UserError
from seg_projects.evaluation.read_ahead import ReadAhead


class Annotation(NamedTuple):
    """The truth of one image, category ids as in the file."""

    ids: np.ndarray  # (H, W) int32, 0 is void
    segments: list[dict[str, Any]]
    file_name: str  # of the PNG


class PanopticGroundTruth:
    """Annotations by image id, categories and their classes in the model's output."""

    def __init__(self, dataset_name: str) -> None:
        """Reads the JSON that the metadata of ``dataset_name`` names."""
        self.metadata = MetadataCatalog.get(dataset_name)
        content = read_panoptic_json(Path(self.metadata.panoptic_json))
        self.root = Path(self.metadata.panoptic_root)
        self.categories = sorted(content["categories"], key=lambda category: category["id"])
        self.column = {c["id"]: i for i, c in enumerate(self.categories)}
        self.is_thing = np.array([bool(c["isthing"]) for c in self.categories])
        self.names = [c["name"] for c in self.categories]
        self._annotations = {a["image_id"]: a for a in content["annotations"]}
        self.output_categories = OutputCategories.from_metadata(self.metadata)
        self.annotation = ReadAhead(self._read, list(self._annotations))

    def labels(self, image_id: int) -> np.ndarray:
        """Semantic labels (H, W) of an image, or void's label.

        These are the classes of stuff and 0 on all things, or, joint, the classes of both.
        """
        annotation = self.annotation(image_id)
        categories = self.output_categories
        stuff, things = categories.stuff_ids, categories.thing_ids
        return semantic_labels(
            annotation.ids,
            annotation.segments,
            () if categories.joint else things,
            things | stuff if categories.joint else stuff,
            ignore_label=self.metadata.ignore_label,
        )

    def instance_annotations(self, image_id: int) -> list[dict[str, Any]]:
        """COCO annotations (RLE, box XYWH, pixel area, crowd flag) of the things of one image.

        They have no ``id``.
        """
        from pycocotools import mask as coco_mask

        annotation = self.annotation(image_id)
        rows = []
        for segment in annotation.segments:
            if segment["category_id"] not in self.metadata.thing_dataset_id_to_contiguous_id:
                continue
            mask = np.asfortranarray(annotation.ids == segment["id"], dtype=np.uint8)
            rle = coco_mask.encode(mask)
            rows.append(
                {
                    "image_id": image_id,
                    "category_id": segment["category_id"],
                    "iscrowd": int(segment.get("iscrowd", 0)),
                    "segmentation": rle,
                    "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                }
            )
        return rows

    def file_name(self, image_id: int) -> str:
        """The name of an image's PNG."""
        return self._annotations[image_id]["file_name"]

    def _read(self, image_id: int) -> Annotation:
        if image_id not in self._annotations:
            raise UserError(f"Image {image_id} has no annotation in {self.metadata.panoptic_json}.")
        annotation = self._annotations[image_id]
        ids = read_panoptic_ids(self.root / annotation["file_name"])
        return Annotation(ids, annotation["segments_info"], annotation["file_name"])
