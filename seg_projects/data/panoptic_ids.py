"""The PNG encoding of segment ids in the COCO panoptic format: id = R + 256 G + 65536 B."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from seg_projects.errors import UserError


def ids_from_rgb(rgb: np.ndarray) -> np.ndarray:
    """Segment ids (..., ) int32 of an (..., 3) uint8 encoding; 0 is void."""
    # Widened first: 8-bit arithmetic would overflow.
    wide = rgb.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


def rgb_from_ids(ids: np.ndarray) -> np.ndarray:
    """The (..., 3) uint8 encoding of segment ids (...) in [0, 2^24)."""
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


def read_panoptic_rgb(path: str | Path) -> np.ndarray:
    """The (H, W, 3) uint8 encoded ids of the PNG at ``path``."""
    return _read_pixels(path, "RGB")


def read_panoptic_ids(path: str | Path) -> np.ndarray:
    """The (H, W) int32 segment ids of the PNG at ``path``."""
    # Four bytes a pixel, read as one little-endian number whose highest byte, alpha, is masked.
    return _read_pixels(path, "RGBA").view("<i4")[..., 0] & 0xFFFFFF


def _read_pixels(path: str | Path, mode: Literal["RGB", "RGBA"]) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode))
    except FileNotFoundError:
        raise UserError(f"The panoptic PNG {path} does not exist.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise UserError(f"The panoptic PNG {path} cannot be read: {error}.") from error


def semantic_labels(
    ids: np.ndarray,
    segments: Sequence[Mapping[str, Any]],
    thing_ids: Container[int],
    stuff_ids: Mapping[int, int],
    *,
    ignore_label: int,
) -> np.ndarray:
    """The (H, W) int64 semantic labels of an (H, W) map of segment ids.

    Args:
        ids: segment ids; those that ``segments`` does not list are void.
        segments: entries with ``id`` and ``category_id``.
        thing_ids: category ids of things; all of their pixels, crowds too, get label 0.
        stuff_ids: category id -> label of stuff.
        ignore_label: label of void.
    """
    present, index = np.unique(ids, return_inverse=True)
    label_of = {
        s["id"]: 0 if s["category_id"] in thing_ids else stuff_ids[s["category_id"]]
        for s in segments
    }
    table = np.array([label_of.get(i, ignore_label) for i in present.tolist()], dtype=np.int64)
    return table[index.reshape(ids.shape)]
