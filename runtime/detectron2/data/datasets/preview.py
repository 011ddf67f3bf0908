"""Drawing the records of a data set, to see whether they were read as they were meant."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detectron2.data.catalog import Metadata

__all__ = ["save_drawings"]

logger = logging.getLogger(__name__)


def save_drawings(records: Iterable[dict[str, Any]], metadata: Metadata, folder: str) -> None:
    """Draws each record on its image and saves it, by the image's name, in ``folder``."""
    from detectron2.data.detection_utils import read_image
    from detectron2.utils.visualizer import Visualizer

    Path(folder).mkdir(parents=True, exist_ok=True)
    for record in records:
        image = read_image(record["file_name"], format="RGB")
        drawing = Visualizer(image, metadata).draw_dataset_dict(record)
        path = Path(folder, Path(record["file_name"]).name)
        drawing.save(str(path))
        logger.info("Saved %s", path)
