"""Masks as PNG files: one per object, numbered instances, class maps, PASCAL VOC's pairs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np

from seg_projects.data.conversion.annotated import (
    AnnotatedImage,
    BoxMask,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
)
from seg_projects.data.conversion.coco_panoptic import split_ids
from seg_projects.data.conversion.image_files import (
    checked_size,
    find_image,
    list_images,
    read_mask,
    read_names,
    require_folder,
)
from seg_projects.errors import UserError

VOID_VALUE = 255
VOC_NAMES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


def read_mask_folders(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """One PNG per object: ``source/NAME/images/*.png`` and ``source/NAME/masks/*.png``.

    Objects are labelled by ``default_label``.
    """
    folders = sorted(p.parent for p in source.glob("*/masks") if p.is_dir())
    if not folders:
        raise UserError(f"{source} has no */masks folder; numbered masks are 'instance-maps'.")
    label = _default_label(options)
    for folder in folders:
        pictures = list_images(folder / "images")
        if len(pictures) != 1:
            log.note("missing image", f"{folder}: {len(pictures)} images, not one; left out")
            continue
        size = checked_size(pictures[0], folder.name, log)
        if size is None:
            continue
        objects = []
        for file in list_images(folder / "masks"):
            pixels = _read_map(file, size, log)
            if pixels is not None:
                objects.append(MaskedObject(label=label, mask=BoxMask.from_full(pixels > 0)))
        yield AnnotatedImage(
            file_name=f"{folder.name}{pictures[0].suffix}",
            source=pictures[0],
            size=size,
            objects=objects,
        )


def read_instance_maps(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """Numbered masks, 8 or 16 bits: 0 is background, each other value one object.

    Images of the same stem lie in ``images``; objects are labelled by ``default_label``.
    """
    label = _default_label(options)
    for name, path, size, values in _maps_with_images(source, options, log):
        masks = split_ids(values).values()
        objects = [MaskedObject(label=label, mask=mask) for mask in masks]
        yield AnnotatedImage(file_name=name, source=path, size=size, objects=objects)


def read_label_maps(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """Class maps: each value is a class of ``names``, 255 is void.

    Images of the same stem lie in ``images``.
    """
    if options.names is None:
        raise UserError("Label maps need --names: a file that names their values.")
    names = read_names(options.names)
    for name, path, size, values in _maps_with_images(source, options, log):
        objects = list(class_objects(values, names, name, log))
        yield AnnotatedImage(file_name=name, source=path, size=size, objects=objects)


def read_label_and_instance_maps(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """Class maps beside instance maps of the same names, in ``instances``.

    Only the pair of both values tells objects apart: a number may occur in several classes.
    """
    if options.names is None or options.instances is None:
        raise UserError(
            "Pairs of maps need --instances, and --names for the values of the classes."
        )
    names = read_names(options.names)
    for name, path, size, classes in _maps_with_images(source, options, log):
        file = find_image(options.instances, path.stem)
        if file is None:
            log.note("missing mask", f"{name}: no map {path.stem} in {options.instances}; left out")
            continue
        numbers = _read_map(file, size, log)
        if numbers is None:
            continue
        objects = list(pair_objects(classes, numbers, names, name, log))
        yield AnnotatedImage(file_name=name, source=path, size=size, objects=objects)


def pair_objects(
    classes: np.ndarray,
    numbers: np.ndarray,
    names: Mapping[int, str],
    where: str,
    log: ConversionLog,
) -> Iterator[MaskedObject]:
    """One object per pair of values.

    Args:
        classes: (H, W) int32 values of the classes.
        numbers: (H, W) int32, >= 0, of the instances.
        names: of the values that are classes; others are void.
        where: what the notes name.
        log: takes notes about values without a name.
    """
    step = int(numbers.max(initial=0)) + 1
    # Shifted by one, because split_ids keeps 0 out.
    for pair, mask in split_ids((classes + 1) * step + numbers).items():
        value = pair // step - 1
        if value in names:
            yield MaskedObject(label=names[value], mask=mask)
        elif value != VOID_VALUE:
            log.note("label value without name", f"{where}: {value}; void")


def read_voc(source: Path, options: ReaderOptions, log: ConversionLog) -> Iterator[AnnotatedImage]:
    """PASCAL VOC: ``JPEGImages``, ``SegmentationClass`` and, if there, ``SegmentationObject``.

    0 is background, 255 the border: both void. The class of an object is its most frequent one.
    """
    class_folder = require_folder(source / "SegmentationClass", "PASCAL VOC keeps its labels there")
    names = dict(enumerate(VOC_NAMES, start=1))
    if options.names is not None:
        names = read_names(options.names)
        names.pop(0, None)
    folder = options.images or source / "JPEGImages"
    for name, path, size, classes in _maps(class_folder, folder, log):
        object_file = source / "SegmentationObject" / f"{path.stem}.png"
        classes[classes == 0] = VOID_VALUE
        objects: Iterable[MaskedObject] = class_objects(classes, names, name, log)
        if object_file.is_file():
            instances = _read_map(object_file, size, log)
            if instances is None:
                continue
            instances[instances == VOID_VALUE] = 0
            objects = voc_objects(classes, instances, names, object_file, log)
        yield AnnotatedImage(file_name=name, source=path, size=size, objects=list(objects))


def voc_objects(
    classes: np.ndarray,
    instances: np.ndarray,
    names: Mapping[int, str],
    file: Path,
    log: ConversionLog,
) -> Iterator[MaskedObject]:
    """The objects of one VOC image.

    Args:
        classes: (H, W) values of SegmentationClass.
        instances: (H, W) values of SegmentationObject, 0 where there is none.
        names: of the values that are classes; objects of others are void.
        file: for the notes.
        log: takes notes about values without a name.
    """
    for number, mask in split_ids(instances).items():
        value = int(np.bincount(classes[mask.region][mask.pixels]).argmax())
        if value in names:
            yield MaskedObject(label=names[value], mask=mask)
        elif value != VOID_VALUE:
            log.note("label value without name", f"{file}: object {number} is of {value}; void")


def class_objects(
    values: np.ndarray, names: Mapping[int, str], where: str, log: ConversionLog
) -> Iterator[MaskedObject]:
    """One object per class of an (H, W) int32 map of values; ``where`` names it in the notes."""
    # Shifted by one: split_ids keeps 0 out.
    for shifted, mask in split_ids(values + 1).items():
        value = shifted - 1
        if value in names:
            yield MaskedObject(label=names[value], mask=mask)
        elif value != VOID_VALUE:
            log.note("label value without name", f"{where}: {value}; void")


_MapWithImage = tuple[str, Path, tuple[int, int], np.ndarray]


def _maps_with_images(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[_MapWithImage]:
    if options.images is None:
        raise UserError("Masks in one folder need --images: the folder of the images.")
    return _maps(source, options.images, log)


def _maps(source: Path, folder: Path, log: ConversionLog) -> Iterator[_MapWithImage]:
    """Name, path, (H, W) and int32 values of each map below ``source`` that has an image."""
    files = list_images(require_folder(source, "it holds the masks"))
    if not files:
        raise UserError(f"{source} holds no masks.")
    for file in files:
        relative = file.relative_to(source)
        path = find_image(folder / relative.parent, file.stem)
        if path is None:
            log.note("missing image", f"{file}: no image {file.stem} in {folder}; left out")
            continue
        name = (relative.parent / path.name).as_posix()
        size = checked_size(path, name, log)
        values = None if size is None else _read_map(file, size, log)
        if size is not None and values is not None:
            yield name, path, size, values


def _read_map(file: Path, size: tuple[int, int], log: ConversionLog) -> np.ndarray | None:
    """(H, W) int32 values; None, with a note, where they cannot be used."""
    pixels = read_mask(file, size, log)
    if pixels is None:
        return None
    if pixels.ndim == 3:
        if (pixels[..., :3] != pixels[..., :1]).any():
            log.note("coloured mask", f"{file}: expected one value per pixel; left out")
            return None
        pixels = pixels[..., 0]
    return pixels.astype(np.int32)


def _default_label(options: ReaderOptions) -> str:
    if options.default_label is None:
        raise UserError("Masks of objects carry no class: name it by --default-label.")
    return options.default_label
