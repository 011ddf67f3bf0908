"""Binary masks of classes, of which a pixel may have several or none.

Legend: K classes, H x W pixels, M combinations of classes that occur in one image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seg_projects.data.label_maps import IGNORED
from seg_projects.data.panoptic_ids import ids_from_rgb, rgb_from_ids
from seg_projects.errors import UserError

# What a mask may hold: 0, and what tools write for 1.
ONES = (1, 255, 65535)
_LARGEST = 65535
# The place of a plane's value in a combination, and back.
_VALUES = np.array((0, 1, IGNORED), dtype=np.uint8)


def check_class_names(names: Sequence[str]) -> None:
    """Checks that the names are distinct and can be those of folders or files.

    Raises:
        UserError: they are not, or there is none.
    """
    unfit = [n for n in names if not n.strip() or n in (".", "..") or set(n) & set("/\\\0")]
    if unfit or not names or len(set(names)) < len(names):
        raise UserError(
            f"The classes of masks are {list(names)}: distinct names that folders and files can "
            "have."
        )


def mask_table(ignore_label: int | None) -> np.ndarray:
    """What each value of a mask stands for, (65536,) int16: 0, 1, ``IGNORED``, or -1 for nothing.

    Args:
        ignore_label: value in the file of pixels that do not count, also one of ``ONES``; or None.

    Raises:
        UserError: no mask can hold that value.
    """
    if ignore_label is not None and not 1 <= ignore_label <= _LARGEST:
        raise UserError(f"IGNORE_LABEL is {ignore_label}; a mask holds 1 to {_LARGEST}, 0 is no.")
    table = np.full(_LARGEST + 1, -1, dtype=np.int16)
    table[0] = 0
    table[list(ONES)] = 1
    if ignore_label is not None:
        table[ignore_label] = IGNORED
    return table


def read_class_masks(record: Mapping[str, Any], table: np.ndarray) -> np.ndarray:
    """The (K, H, W) uint8 planes of an image: 1, 0, or ``IGNORED`` where a class is not known.

    Args:
        record: ``class_mask_file_names``, None for a class that the image has nowhere, ``height``
            and ``width``.
        table: from :func:`mask_table`.

    Raises:
        UserError: a mask is missing, has several channels, another size or another value.
    """
    size = (record["height"], record["width"])
    files = record["class_mask_file_names"]
    planes = np.zeros((len(files), *size), dtype=np.uint8)
    for plane, file in zip(planes, files, strict=True):
        if file is not None:
            plane[:] = _read_mask(file, size, table)
    return planes


def _read_mask(file: str, size: tuple[int, int], table: np.ndarray) -> np.ndarray:
    values = mask_values(Path(file))
    if values.shape != size:
        raise UserError(
            f"The mask {file} has {values.shape[1]} x {values.shape[0]} pixels, its image "
            f"{size[1]} x {size[0]}."
        )
    known = table[values]
    if (known < 0).any():
        raise UserError(f"The mask {file} {other_values(values[known < 0])}.")
    return known


def other_values(values: np.ndarray) -> str:
    """A phrase about ``values`` that stand for nothing."""
    listed = np.unique(values).tolist()
    more = ", ..." if len(listed) > 5 else ""
    return (
        f"holds {', '.join(map(str, listed[:5]))}{more}, which is neither 0 nor one of "
        f"{', '.join(map(str, ONES))}: name it as IGNORE_LABEL where it does not count"
    )


def mask_values(file: Path) -> np.ndarray:
    """The (H, W) values of a mask, at most 65535.

    Raises:
        UserError: it cannot be read, or has several channels.
    """
    # Imported here: a mask is read by those alone who load one.
    from seg_projects.data.conversion.image_files import read_pixels

    try:
        values = read_pixels(file)
    except OSError as error:
        raise UserError(f"The mask {file} cannot be read: {error}.") from error
    if values.ndim != 2:
        raise UserError(
            f"The mask {file} has {values.shape[-1]} channels; one is wanted, 0 where the class "
            "is not."
        )
    return values.astype(np.uint16) if values.dtype == bool else _clipped(values)


def _clipped(values: np.ndarray) -> np.ndarray:
    """Values that no table holds become one that stands for nothing."""
    if values.dtype in (np.uint8, np.uint16):
        return values
    outside = (values < 0) | (values > _LARGEST) | (values != np.floor(values))
    return np.where(outside, _LARGEST - 1, values).astype(np.uint16)


class Combinations(NamedTuple):
    """Planes as one map, which augmentations move as they move any."""

    codes: np.ndarray
    """(H, W) int32 in [0, M)."""
    values: np.ndarray
    """(M, K) uint8, what each plane holds there."""

    @classmethod
    def of(cls, planes: np.ndarray) -> Combinations:
        """Those of (K, H, W) ``planes`` of 0, 1 and ``IGNORED``."""
        codes = np.zeros(planes.shape[1:], dtype=np.int32)
        values = np.zeros((1, 0), dtype=np.uint8)
        place = np.zeros(256, dtype=np.int32)
        place[_VALUES] = np.arange(3)
        for plane in planes:
            # Each combination so far splits into three, of which few occur.
            split = codes * 3 + place[plane]
            occurs = np.bincount(split.ravel(), minlength=3 * len(values)) > 0
            present = np.flatnonzero(occurs)
            codes = (np.cumsum(occurs, dtype=np.int32) - 1)[split]
            values = np.column_stack((values[present // 3], _VALUES[present % 3]))
        return cls(codes, values)

    def packed(self) -> np.ndarray:
        """The codes in bytes, (H, W) or (H, W, 3): these, every transform can move exactly."""
        # One code is left for what comes in from outside the image.
        if len(self.values) <= IGNORED:
            return self.codes.astype(np.uint8)
        return rgb_from_ids(self.codes)

    def planes(self, packed: np.ndarray) -> np.ndarray:
        """The (K, h, w) uint8 planes of moved codes; ``IGNORED`` from outside the image."""
        codes = packed if packed.ndim == 2 else ids_from_rgb(packed)
        outside = np.full((1, self.values.shape[1]), IGNORED, dtype=np.uint8)
        table = np.concatenate((self.values, outside))
        places = np.minimum(codes, len(self.values))
        return np.stack([column[places] for column in table.T])
