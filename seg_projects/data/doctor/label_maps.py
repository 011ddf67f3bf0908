"""Checks of label maps beside their images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seg_projects.data.conversion.image_files import IMAGE_SUFFIXES, list_images, read_pixels
from seg_projects.data.datasets.semantic import label_map_records
from seg_projects.data.doctor.findings import Finding, Record
from seg_projects.data.label_maps import IGNORED, UNKNOWN
from seg_projects.errors import UserError


def match_label_maps(images: Path, labels: Path) -> tuple[list[Record], list[Finding]]:
    """The records of the pairs that can be read in two folders, and what is wrong with the others.

    Args:
        images: folder of the images.
        labels: folder of the label maps; one of the same name, less the suffix, for each.
    """
    by_stem, findings = images_by_stem(images)
    maps, more = images_by_stem(labels)
    findings += more
    for stem in sorted(maps.keys() - by_stem.keys()):
        text = f"the label map {maps[stem].name} has no image in {images}"
        findings.append(Finding("missing image", stem, text))
    records = []
    for stem, path in by_stem.items():
        if stem not in maps:
            text = f"{labels} has no file {stem}"
            findings.append(Finding("missing label map", path.name, text, image=path.name))
            continue
        try:
            records += label_map_records([(stem, path, maps[stem])])
        except UserError as error:
            findings.append(Finding("unreadable image", path.name, str(error)))
    return records, [*findings, *check_subfolders(images, labels)]


def check_subfolders(images: Path, masks: Path) -> Iterator[Finding]:
    """Images that lie deeper, where a training does not look; the ``masks`` may lie there."""
    found = (path.parent for path in list_images(images) if masks not in path.parents)
    counts = Counter(folder for folder in found if folder != images)
    for folder, count in counts.items():
        text = f"{count} images in it are not looked at; tools/convert.py takes such folders"
        yield Finding("images in a subfolder", folder.relative_to(images).as_posix(), text)


def images_by_stem(folder: Path) -> tuple[dict[str, Path], list[Finding]]:
    """The image files in ``folder`` by their names less the suffix, which shall be distinct."""
    found: dict[str, Path] = {}
    findings = []
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES):
        if found.setdefault(path.stem, path) is not path:
            text = f"{found[path.stem].name} has the same name, less the suffix"
            findings.append(Finding("duplicate file name", path.name, text))
    return found, findings


def check_label_map(
    record: Record, table: np.ndarray, areas: dict[int, int] | None = None
) -> Iterator[Finding]:
    """One label map, decoded.

    Args:
        record: of the data set: ``sem_seg_file_name``, ``file_name``, ``height``, ``width``.
        table: value in the file -> class, see :func:`class_table`.
        areas: takes the pixels of each class that occurs, 255 where they do not count.
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
    counts = np.bincount(values.ravel().astype(np.int64).clip(0, len(table)))
    present = np.flatnonzero(counts)
    known = np.append(table, UNKNOWN)
    if areas is not None:
        for value, label in zip(present.tolist(), known[present].tolist(), strict=True):
            if label != UNKNOWN:
                areas[label] = areas.get(label, 0) + int(counts[value])
    if unknown := [value for value in present.tolist() if known[value] == UNKNOWN]:
        text = f"{unknown[:5]}: name them in VALUE_MAP, or as IGNORE_LABEL"
        yield Finding("label value without class", path.name, text, image=image)


def check_classes(classes: set[int]) -> Iterator[Finding]:
    """Classes that look as if values had been taken for others, over a whole data set.

    Args:
        classes: that occur, see :func:`check_label_map`.
    """
    occurring = classes - {IGNORED}
    if len(occurring) == 1 and IGNORED in classes:
        text = f"only class {min(occurring)} and pixels that do not count: if {IGNORED} is the "
        text += f"other class, say so: VALUE_MAP {{0: 0, {IGNORED}: 1}}"
        yield Finding("single class", "label maps", text)
    absent = sorted(set(range(max(occurring, default=0))) - occurring)
    # Where most classes are absent, the data set is a small part of a larger one.
    if 0 < len(absent) < len(occurring):
        listed = ", ".join(map(str, absent[:5])) + (", ..." if len(absent) > 5 else "")
        text = f"no pixel of {len(absent)} classes below {max(occurring)}: {listed}; classes are "
        yield Finding("gap in label values", "label maps", text + "counted without gaps")
