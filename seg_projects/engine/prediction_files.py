"""Predictions of a list of images as files: overlays, PNGs, a COCO JSON."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from seg_projects.data.categories import OutputCategories
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.engine.input_images import InputImage, in_eight_bits, read_image_rgb
from seg_projects.engine.predictor import PanopticPrediction
from seg_projects.errors import UserError
from seg_projects.files import write_atomically, write_json
from seg_projects.visualization.overlay import categories_from_coco, panoptic_overlay

logger = logging.getLogger(__name__)


class PredictionFiles(Protocol):
    """What is written of the predictions of a model."""

    def add(self, source: InputImage, image: np.ndarray, prediction: Any) -> str:
        """Writes what belongs to one image, uint8; returns what was found, in words."""

    def finish(self) -> str:
        """Writes what belongs to all images; returns the names of files and folders."""


class PanopticFiles:
    """Files of a panoptic model.

    ``overlays/NAME.png`` is to look at; ``panoptic/NAME.png`` holds segment ids as
    R + 256 G + 65536 B, which ``panoptic.json`` lists; ``labels/NAME.png`` holds the category id
    of each pixel, 0 where nothing was found.
    """

    def __init__(self, output_dir: Path, categories: OutputCategories) -> None:
        self.output_dir = output_dir
        self.categories = categories
        self._colours = categories_from_coco(categories.records)
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, source: InputImage, image: np.ndarray, prediction: PanopticPrediction) -> str:
        """Writes the files of one image; returns what was found, in words."""
        ids, segments = prediction
        file_name = f"{source.name}.png"
        overlay = panoptic_overlay(image, ids, segments, self._colours)
        write_png(self.output_dir / "overlays" / file_name, overlay)
        write_png(self.output_dir / "panoptic" / file_name, rgb_from_ids(ids))
        write_png(self.output_dir / "labels" / file_name, _label_map(ids, segments))
        number = len(self._images) + 1
        height, width = ids.shape
        self._images.append(
            {"id": number, "file_name": source.file_name, "height": height, "width": width}
        )
        self._annotations.append(
            {"image_id": number, "file_name": file_name, "segments_info": segments}
        )
        return f"{len(segments)} segments"

    def finish(self) -> str:
        """Writes the JSON; returns the names of files and folders."""
        content = {
            "images": self._images,
            "annotations": self._annotations,
            "categories": self.categories.records,
        }
        write_json(self.output_dir / "panoptic.json", content)
        return "overlays, labels, panoptic, panoptic.json"


def write_predictions(
    images: Iterable[InputImage], predict: Callable[[np.ndarray], Any], files: PredictionFiles
) -> list[Path]:
    """Segments ``images`` and hands each prediction to ``files``.

    An image that cannot be read is named in a warning, and the others go on.

    Returns:
        Those that could not be read.

    Raises:
        UserError: what belongs to an image cannot be written.
    """
    unreadable = []
    for source in images:
        try:
            image = read_image_rgb(source.path)
        except UserError as error:
            logger.warning("Skipped: %s", error)
            unreadable.append(source.path)
            continue
        prediction = predict(image)
        try:
            found = files.add(source, in_eight_bits(image), prediction)
        except OSError as error:
            raise UserError(
                f"The prediction of {source.path} cannot be written ({error}): make room, or "
                "choose another folder for the output."
            ) from error
        logger.info("%s: %s", source.path, found)
    return unreadable


def _label_map(ids: np.ndarray, segments: list[dict[str, Any]]) -> np.ndarray:
    table = np.zeros(max((s["id"] for s in segments), default=0) + 1, dtype=np.int64)
    for segment in segments:
        table[segment["id"]] = segment["category_id"]
    labels = table[ids]
    return labels.astype(np.uint8 if table.max() < 256 else np.uint16)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes (H, W) or (H, W, 3) uint8 or (H, W) uint16 pixels, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomically(path, buffer.getvalue())
