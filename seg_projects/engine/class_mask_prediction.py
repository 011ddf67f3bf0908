"""A model whose pixels may have several classes on images of one's own, and what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from seg_projects.data.categories import OutputCategories
from seg_projects.data.class_masks import check_class_names
from seg_projects.engine.input_images import InputImage
from seg_projects.engine.prediction_files import write_png
from seg_projects.engine.semantic_prediction import SemanticPredictor, write_class_names
from seg_projects.postprocessing.class_planes import class_planes
from seg_projects.visualization.class_masks import class_mask_overlay
from seg_projects.visualization.overlay import categories_from_coco


class ClassMaskPredictor(SemanticPredictor):
    """Loads what a config and its weights say, once; then called with images."""

    def __call__(self, image_rgb: np.ndarray) -> np.ndarray:
        """Where each class is, (K, H, W) bool, of an (H, W, 3) RGB image, uint8 or float32."""
        return class_planes(self._model(image_rgb)["sem_seg"]).cpu().numpy()


class ClassMaskFiles:
    """``overlays/NAME.png`` to look at, ``masks/CLASS/NAME.png``: 255 where the class is.

    ``classes.txt`` holds the names of the classes, a line each.
    """

    def __init__(self, output_dir: Path, categories: OutputCategories) -> None:
        self.output_dir = output_dir
        self.names = [str(record["name"]) for record in categories.records]
        check_class_names(self.names)  # they become folders
        self._colours = categories_from_coco(categories.records)

    def add(self, source: InputImage, image: np.ndarray, prediction: np.ndarray) -> str:
        """Writes the files of one image; returns what was found, in words."""
        file_name = f"{source.name}.png"
        overlay = class_mask_overlay(image, prediction, self._colours)
        write_png(self.output_dir / "overlays" / file_name, overlay)
        for label, plane in zip(self.names, prediction, strict=True):
            write_png(self.output_dir / "masks" / label / file_name, plane.astype(np.uint8) * 255)
        return f"{np.count_nonzero(prediction.any(axis=(1, 2)))} classes"

    def finish(self) -> str:
        """Writes what concerns all images; returns the names of files and folders."""
        write_class_names(self.output_dir, self.names)
        return "overlays, masks, classes.txt"
