"""The ground truth of a data set of label maps, read image by image."""

from __future__ import annotations

import numpy as np

from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects.data.label_maps import read_label_map


class LabelMapGroundTruth:
    """Label maps by image id, as :class:`SemanticEvaluator` asks for them."""

    def __init__(self, dataset_name: str) -> None:
        self.metadata = MetadataCatalog.get(dataset_name)
        records = DatasetCatalog.get(dataset_name)
        self._records = {record["image_id"]: record for record in records}

    def labels(self, image_id: int | str) -> np.ndarray:
        """Classes (H, W) uint8, 255 where none counts."""
        return read_label_map(
            self._records[image_id]["sem_seg_file_name"], self.metadata.label_table
        )

    def file_name(self, image_id: int | str) -> str:
        """The image's file."""
        return str(self._records[image_id]["file_name"])
