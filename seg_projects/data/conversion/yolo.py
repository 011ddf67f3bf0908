"""YOLO segmentation: a text file per image, a line "class x1 y1 x2 y2 ..." per object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    """The images below ``source/images``, their labels below ``source/labels``.

    Without these folders, images and labels lie side by side. Names come from ``names``, else from
    ``source/data.yaml``. An image without text file has no objects.
    """
    names = _names(source, options)
    folder = options.images or (source / "images" if (source / "images").is_dir() else source)
    labels = source / "labels" if (source / "labels").is_dir() else source
    files = list_images(folder)
    if not files:
        raise UserError(f"{folder} holds no images.")
    for path in files:
        relative = path.relative_to(folder)
        size = checked_size(path, str(relative), log)
        if size is None:
            continue
        text = (labels / relative).with_suffix(".txt")
        # Bytes that are no text make their line an unusable shape.
        content = text.read_text(encoding="utf-8", errors="replace") if text.is_file() else ""
        yield AnnotatedImage(
            file_name=relative.as_posix(),
            source=path,
            size=size,
            objects=list(_objects(text, content.splitlines(), size, names, log)),
        )


def _names(source: Path, options: ReaderOptions) -> dict[int, str]:
    if options.names is not None and options.names.suffix not in (".yaml", ".yml"):
        return read_names(options.names)
    file = options.names or source / "data.yaml"
    try:
        names = yaml.safe_load(file.read_text(encoding="utf-8"))["names"]
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(value): str(name) for value, name in pairs}
    except OSError:
        raise UserError(f"{file} does not exist: name the classes by --names.") from None
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
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
