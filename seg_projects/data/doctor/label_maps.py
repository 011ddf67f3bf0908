"""Checks of label maps beside their images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg_projects.data.conversion.image_files import read_pixels
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.label_maps import IGNORED, UNKNOWN


def check_label_map(
    record: Record, table: np.ndarray, classes: set[int] | None = None
) -> Iterator[Finding]:
    """One label map, decoded.

    Args:
        record: of the data set: ``sem_seg_file_name``, ``file_name``, ``height``, ``width``.
        table: value in the file -> class, see :func:`class_table`.
        classes: takes the classes that occur, 255 where pixels do not count.
    """
    path = Path(record["sem_seg_file_name"])
    image = record["file_name"]
    try:
        values = read_pixels(path)
    except FileNotFoundError:
        yield Finding("missing label map", path.name, f"{path} does not exist", image=image)
        return
    except (OSError, SyntaxError, ValueError) as error:
        yield Finding("unreadable label map", path.name, str(error), image=image)
        return
    if values.ndim != 2:
        text = f"it has {values.shape[-1]} channels; one is wanted, its values being classes"
        yield Finding("unreadable label map", path.name, text, image=image)
        return
    if values.shape != (record["height"], record["width"]):
        text = f"{values.shape[1]} x {values.shape[0]}, its image "
        text += f"{record['width']} x {record['height']} pixels"
        yield Finding("label map of another size", path.name, text, image=image)
    present = np.flatnonzero(np.bincount(values.ravel().astype(np.int64).clip(0, len(table))))
    known = np.append(table, UNKNOWN)
    if classes is not None:
        classes.update(set(known[present].tolist()) - {UNKNOWN})
    if unknown := [value for value in present.tolist() if known[value] == UNKNOWN]:
        text = f"{unknown[:5]}: name them in VALUE_MAP, or as IGNORE_LABEL"
        yield Finding("label value without class", path.name, text, image=image)


def check_gaps(classes: set[int]) -> Iterator[Finding]:
    """Classes that occur in no label map although a higher one does.

    Args:
        classes: that occur, see :func:`check_label_map`.
    """
    occurring = classes - {IGNORED}
    absent = sorted(set(range(max(occurring, default=0))) - occurring)
    if absent:
        listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        text = f"no pixel of {len(absent)} classes below {max(occurring)}: {listed}; classes are "
        yield Finding("gap in label values", "label maps", text + "counted without gaps")
