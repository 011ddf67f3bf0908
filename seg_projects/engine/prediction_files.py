"""Predictions of a list of images as files: overlays, PNGs, a COCO JSON."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from seg_projects.data.categories import OutputCategories
from seg_projects.data.images import read_image
from seg_projects.data.panoptic_ids import rgb_from_ids
from seg_projects.engine.predictor import PanopticPrediction
from seg_projects.errors import UserError
from seg_projects.files import write_atomically, write_json
from seg_projects.visualization.overlay import categories_from_coco, panoptic_overlay

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def find_images(paths: Sequence[str | Path]) -> list[Path]:
    """The image files among ``paths`` and in those that are folders, in the order of names.

    Raises:
        UserError: a path does not exist, or there is no image at all.
    """
    images: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            found = (p for p in path.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            images += sorted(found)
        elif path.is_file():
            images.append(path)
        else:
            raise UserError(f"The input {path} does not exist.")
    if not images:
        raise UserError(
            f"No image ({', '.join(sorted(IMAGE_SUFFIXES))}) in {list(map(str, paths))}."
        )
    return images


def read_image_rgb(path: Path) -> np.ndarray:
    """The (H, W, 3) uint8 RGB image at ``path``, upright; 16 bits are rounded to 8.

    Raises:
        UserError: see :func:`seg_projects.data.images.read_image`.
    """
    image = read_image(str(path), "RGB")
    return image if image.dtype == np.uint8 else np.rint(image).astype(np.uint8)


class PredictionFiles(Protocol):
    """What is written of the predictions of a model."""

    def add(self, name: str, path: Path, image: np.ndarray, prediction: Any) -> str:
        """Writes what belongs to one image; returns what was found, in words."""

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

    def add(self, name: str, path: Path, image: np.ndarray, prediction: PanopticPrediction) -> str:
        """Writes the files of one image; returns what was found, in words."""
        ids, segments = prediction
        overlay = panoptic_overlay(image, ids, segments, self._colours)
        write_png(self.output_dir / "overlays" / f"{name}.png", overlay)
        write_png(self.output_dir / "panoptic" / f"{name}.png", rgb_from_ids(ids))
        write_png(self.output_dir / "labels" / f"{name}.png", _label_map(ids, segments))
        number = len(self._images) + 1
        height, width = ids.shape
        self._images.append(
            {"id": number, "file_name": path.name, "height": height, "width": width}
        )
        self._annotations.append(
            {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
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
    images: Iterable[Path], predict: Callable[[np.ndarray], Any], files: PredictionFiles
) -> int:
    """Segments ``images`` and hands each prediction to ``files``.

    An image that cannot be read is skipped with a warning.

    Returns:
        How many images were written.
    """
    count = 0
    for name, image, path in _readable(images):
        found = files.add(name, path, image, predict(image))
        logger.info("%s: %s", path, found)
        count += 1
    return count


def _readable(images: Iterable[Path]) -> Iterator[tuple[str, np.ndarray, Path]]:
    """(unique name, image, path) of each image that can be read."""
    taken: set[str] = set()
    for path in images:
        try:
            image = read_image_rgb(path)
        except UserError as error:
            logger.warning("Skipped: %s", error)
            continue
        # "a.jpg" and "a.png", or files of one name from two folders, get names of their own.
        name, count = path.stem, 1
        while name in taken:
            count += 1
            name = f"{path.stem}-{count}"
        taken.add(name)
        yield name, image, path


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
