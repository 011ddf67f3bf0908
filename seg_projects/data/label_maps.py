"""Label maps in image files, and the classes that their values stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from seg_projects.errors import UserError

IGNORED = 255
UNKNOWN = -1


def class_table(
    num_classes: int, *, value_map: Mapping[int, int] | None, ignore_label: int
) -> np.ndarray:
    """The class of each value that a label map may hold, (65536,) int16.

    Args:
        num_classes: K, at most 255.
        value_map: value in the file -> class in [0, K); None where values are classes.
        ignore_label: value in the file of pixels that do not count, unless ``value_map`` has it.

    Returns:
        A class in [0, K), ``IGNORED`` or ``UNKNOWN`` for each value.

    Raises:
        UserError: a value or a class is out of range.
    """
    if not 1 <= num_classes <= IGNORED:
        raise UserError(f"CLASSES has {num_classes} names; 1 to {IGNORED} are possible.")
    table = np.full(65536, UNKNOWN, dtype=np.int16)
    pairs = {k: k for k in range(num_classes)} if value_map is None else dict(value_map)
    for value, label in ({ignore_label: IGNORED} | pairs).items():
        if not 0 <= value < len(table):
            raise UserError(f"A label map cannot hold the value {value}: 0 to 65535 are possible.")
        if label != IGNORED and not 0 <= label < num_classes:
            raise UserError(
                f"VALUE_MAP sends {value} to {label}; classes are 0 to {num_classes - 1}, and "
                f"{IGNORED} is for pixels that do not count."
            )
        table[value] = label
    return table


def read_label_map(path: str | Path, table: np.ndarray) -> np.ndarray:
    """The classes (H, W) uint8 of the label map at ``path``, ``IGNORED`` where none counts.

    Args:
        path: an image of one channel, 8 or 16 bit; of a palette image the indices count.
        table: from :func:`class_table`.

    Raises:
        UserError: the file is missing, has several channels or a value without a class.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except OSError as error:
        raise UserError(f"The label map {path} cannot be read: {error}.") from error
    if values.ndim != 2:
        raise UserError(
            f"The label map {path} has {values.shape[-1]} channels; one is wanted, its values "
            "being classes (of a palette image, the indices)."
        )
    places = values
    if values.dtype not in (np.uint8, np.uint16):
        # What the table does not hold leads to one more place, as does -1.
        table = np.append(table, np.int16(UNKNOWN))
        places = values.astype(np.int64).clip(-1, len(table) - 1)
    labels = table[places]
    unknown = labels == UNKNOWN
    if unknown.any():
        found = sorted({int(v) for v in values[unknown]})
        raise UserError(
            f"The label map {path} holds {found[:5]}, which is no class: name the values in "
            "VALUE_MAP, or as IGNORE_LABEL where they do not count."
        )
    return labels.astype(np.uint8)
