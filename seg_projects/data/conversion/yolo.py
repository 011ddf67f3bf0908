"""YOLO segmentation: a text file per image, a line "class x1 y1 x2 y2 ..." per object."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from seg_projects.data.conversion import shapes
from seg_projects.data.conversion.annotated import (
    AnnotatedImage,
    ConversionLog,
    MaskedObject,
    ReaderOptions,
)
from seg_projects.data.conversion.image_files import checked_size, list_images, read_names
from seg_projects.errors import UserError


def read_yolo(source: Path, options: ReaderOptions, log: ConversionLog) -> Iterator[AnnotatedImage]:
    """The images of ``source``; those of one of the parts of ``data.yaml``, where one is named.

    The text file of ``images/train/a.jpg`` is ``labels/train/a.txt``, of ``train/images/a.jpg``
    ``train/labels/a.txt``, else it lies beside the image. Names come from ``names``, else from
    ``source/data.yaml``. An image without text file has no objects.

    Raises:
        UserError: there are no images, no class names, or not one text file.
    """
    settings = _settings(source, options)
    names = _names(source, options, settings)
    root, files = _images(source, options, settings)
    texts = {path: _text_file(path, source, root) for path in files}
    if not any(text.is_file() for text in texts.values()):
        raise UserError(f"No image has a text file: {texts[files[0]]} does not exist, and so on.")
    for path, text in texts.items():
        relative = path.relative_to(root)
        size = checked_size(path, str(relative), log)
        if size is None:
            continue
        # Bytes that are no text make their line an unusable shape.
        content = text.read_text(encoding="utf-8-sig", errors="replace") if text.is_file() else ""
        yield AnnotatedImage(
            file_name=relative.as_posix(),
            source=path,
            size=size,
            objects=list(_objects(text, content.splitlines(), size, names, log)),
        )


def _settings(source: Path, options: ReaderOptions) -> dict[str, Any]:
    """What ``data.yaml``, or the file of names in its place, says; {} without one."""
    file = source / "data.yaml"
    if options.names is not None and options.names.suffix in (".yaml", ".yml"):
        file = options.names
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except OSError:
        return {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as YAML: {reason}.") from error
    return content if isinstance(content, dict) else {}


def _images(
    source: Path, options: ReaderOptions, settings: Mapping[str, Any]
) -> tuple[Path, list[Path]]:
    """The folder that names are relative to, and the images below it, or of one part."""
    root = options.images or (source / "images" if (source / "images").is_dir() else source)
    folders = _part_folders(source, settings.get(options.part or ""))
    if options.part in ("train", "val", "test") and folders:
        files = [path for folder in folders for path in list_images(folder)]
        if all(path.is_relative_to(folders[0]) for path in files):
            root = folders[0]
    else:
        folders, files = [root], list_images(root)
    if not files:
        raise UserError(f"{folders[0]} holds no images.")
    return root, files


def _part_folders(source: Path, entry: Any) -> list[Path]:
    """The folders of images that an entry of ``data.yaml`` names, below ``source``.

    Exports name them as from a folder that is not there (``../train/images``, ``/home/...``):
    what counts is the end of the path, as long as it lies below ``source``.
    """
    folders = []
    for text in entry if isinstance(entry, list) else [entry]:
        if not isinstance(text, str):
            continue
        parts = [p for p in text.replace("\\", "/").split("/") if p not in ("", ".", "..")]
        ends = (source.joinpath(*parts[first:]) for first in range(len(parts)))
        folders += [end for end in ends if end.is_dir()][:1]
    return folders


def _text_file(image: Path, source: Path, root: Path) -> Path:
    """In the counterpart ``labels`` of the last folder ``images`` of the path, or beside it."""
    beside = image.with_suffix(".txt")
    if beside.is_file():
        return beside
    parts = list(image.relative_to(source).parts) if image.is_relative_to(source) else []
    for place in reversed(range(len(parts) - 1)):
        if parts[place] == "images":
            parts[place] = "labels"
            return source.joinpath(*parts).with_suffix(".txt")
    labels = source / "labels"
    return labels / beside.relative_to(root) if labels.is_dir() else beside


def _names(source: Path, options: ReaderOptions, settings: Mapping[str, Any]) -> dict[int, str]:
    if options.names is not None and options.names.suffix not in (".yaml", ".yml"):
        return read_names(options.names)
    file = options.names or source / "data.yaml"
    if not file.is_file():
        raise UserError(f"{file} does not exist: name the classes by --names.")
    try:
        names = settings["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(value): str(name) for value, name in pairs}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file} gives no 'names' of the classes: {error!r}.") from error


def _objects(
    file: Path, lines: list[str], size: tuple[int, int], names: dict[int, str], log: ConversionLog
) -> Iterator[MaskedObject]:
    height, width = size
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value, *coordinates = (float(word) for word in line.split())
            if len(coordinates) == 4:
                raise ValueError("a box, not a polygon")
            points = [
                (x * width, y * height)
                for x, y in zip(coordinates[::2], coordinates[1::2], strict=True)
            ]
            shape = shapes.polygon(points, size)
            label = names[int(value)]
        except KeyError:
            log.note("class without name", f"{file}:{number}: class {int(value)}; left out")
            continue
        except (ValueError, OverflowError) as error:
            log.note("unusable shape", f"{file}:{number}: {error}; left out")
            continue
        yield MaskedObject(label=label, mask=shape.mask, polygons=shape.polygons)
