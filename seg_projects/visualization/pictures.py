"""Pictures for pages: images as they are looked at, small enough for a card."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seg_projects.data.images import WIDE_MODES, wide_grey

CARD_SIDE = 420
"""Pixels of the longer side of a card's picture."""


def read_picture(path: Path) -> Image.Image:
    """The image at ``path`` in RGB, turned upright as its EXIF orientation says.

    Raises:
        OSError, ValueError, SyntaxError: it is no sound image, as Pillow says it.
    """
    with Image.open(path) as image:
        picture = ImageOps.exif_transpose(image)
        if picture.mode in WIDE_MODES:
            picture = Image.fromarray(np.rint(wide_grey(picture)).astype(np.uint8))
        return picture.convert("RGB")


def shrunk(picture: Image.Image, side: int = CARD_SIDE) -> Image.Image:
    """``picture`` with ``side`` pixels on its longer side; as it is, if it is not larger."""
    scale = side / max(picture.size)
    if scale >= 1:
        return picture
    width, height = (max(1, round(length * scale)) for length in picture.size)
    return picture.resize((width, height))
