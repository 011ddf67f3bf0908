"""A trained semantic model on images of one's own, and what of it is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from detectron2.config import CfgNode
from seg_projects.data.categories import OutputCategories
from seg_projects.engine.image_model import ImageModel
from seg_projects.engine.input_images import InputImage
from seg_projects.engine.model_categories import check_num_classes, model_categories
from seg_projects.engine.prediction_files import write_png
from seg_projects.files import write_atomically
from seg_projects.modeling import SegSemanticSegmentor
from seg_projects.postprocessing import argmax_labels
from seg_projects.visualization.overlay import categories_from_coco, semantic_overlay


class SemanticPredictor:
    """Loads what a config and its weights say, once; then called with images."""

    def __init__(self, cfg: CfgNode) -> None:
        """Takes a config whose weights exist; see :func:`find_weights`.

        Raises:
            UserError: the classes are unknown, or not as many as the model has.
        """
        self.categories = model_categories(cfg)
        check_num_classes(cfg, {"SEM_SEG_HEAD": len(self.categories.records)})
        self._model = ImageModel(cfg)

    def __call__(self, image_rgb: np.ndarray) -> np.ndarray:
        """The class (H, W) of each pixel of an (H, W, 3) RGB image, uint8 or float32."""
        labels = self._labels(image_rgb).cpu().numpy()
        return labels.astype(np.uint8 if len(self.categories.records) <= 256 else np.uint16)

    def _labels(self, image_rgb: np.ndarray) -> Tensor:
        model = self._model.model
        if not isinstance(model, SegSemanticSegmentor):
            return argmax_labels(self._model(image_rgb)["sem_seg"])
        # The same without the scores at the size of the image.
        return model.predict_labels(self._model.inputs(image_rgb))


class SemanticFiles:
    """``overlays/NAME.png`` to look at, ``labels/NAME.png`` the class of each pixel, from 0.

    ``classes.txt`` holds the names of the classes, a line each.
    """

    def __init__(self, output_dir: Path, categories: OutputCategories) -> None:
        self.output_dir = output_dir
        self.categories = categories
        self._colours = categories_from_coco(categories.records)

    def add(self, source: InputImage, image: np.ndarray, prediction: np.ndarray) -> str:
        """Writes the files of one image; returns what was found, in words."""
        overlay = semantic_overlay(image, prediction, self._colours)
        write_png(self.output_dir / "overlays" / f"{source.name}.png", overlay)
        write_png(self.output_dir / "labels" / f"{source.name}.png", prediction)
        return f"{len(np.unique(prediction))} classes"

    def finish(self) -> str:
        """Writes what concerns all images; returns the names of files and folders."""
        write_class_names(self.output_dir, [r["name"] for r in self.categories.records])
        return "overlays, labels, classes.txt"


def write_class_names(folder: Path, names: Sequence[str]) -> None:
    """Writes ``classes.txt``, a line each."""
    write_atomically(folder / "classes.txt", "".join(f"{name}\n" for name in names).encode())
