"""Image files as the readers see them: where they lie, and their size as viewers show it."""

from __future__ import annotations

import io
import json
import os
import struct
import unicodedata
import zlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from seg_projects.data.conversion.annotated import ConversionLog
from seg_projects.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif")
_ORIENTATION = 0x0112
_QUARTER_TURNS = (5, 6, 7, 8)
# What Pillow raises for damaged files beside OSError.
_DAMAGED = (
    *(SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, EOFError, AttributeError),
    *(struct.error, zlib.error),
)


@contextmanager
def _opened(source: Path | bytes) -> Iterator[Image.Image]:
    """The image; whatever Pillow raises for a damaged or enormous one becomes an OSError."""
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            yield image
    except (*_DAMAGED, Image.DecompressionBombError) as error:
        raise OSError(f"it cannot be decoded: {error}") from error


def displayed_size(source: Path | bytes) -> tuple[int, int]:
    """(H, W) of an image after its EXIF orientation, without decoding its pixels.

    Raises:
        OSError: there is no such file, or it is no image.
    """
    with _opened(source) as image:
        width, height = image.size
        return (width, height) if is_turned(image) else (height, width)


def is_turned(image: Image.Image) -> bool:
    """Whether an image is shown turned by 90 degrees, as its EXIF orientation says."""
    return image.getexif().get(_ORIENTATION) in _QUARTER_TURNS


def checked_size(
    source: Path | bytes, name: str, log: ConversionLog, stated: tuple[int, int] | None = None
) -> tuple[int, int] | None:
    """(H, W) of an image, or None, with a note, where its annotations cannot be used.

    Args:
        source: the file or its content.
        name: of the image, for the notes.
        log: takes the notes.
        stated: (H, W) that the annotation gives, if it does.
    """
    if isinstance(source, Path) and not is_file(source):
        log.note("missing image", f"{name}: {source} does not exist; left out")
        return None
    try:
        size = displayed_size(source)
    except OSError as error:
        log.note("unreadable image", f"{name}: {error}; left out")
        return None
    if stated is not None and stated != size:
        turned = " (the size before the EXIF rotation)" if stated == size[::-1] else ""
        log.note(
            "size mismatch",
            f"{name}: the annotation is for {stated[1]} x {stated[0]} pixels{turned}, "
            f"the image has {size[1]} x {size[0]}; left out",
        )
        return None
    return size


def locate_image(folder: Path, name: str) -> tuple[Path, str]:
    """The file of the image that an annotation names, and its name within the data set.

    Tools write paths of their own machines, such as ``/data/upload/1/a.jpg``: the longest end of
    it that ``folder`` has a file of counts, whatever its case and the form of its accents, else
    the last part. Nothing outside is looked at.

    Raises:
        ValueError: there is no name.
    """
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if not parts or "\0" in name:
        raise ValueError(f"{name!r} names no image")
    inside = parts
    if ".." in parts or ":" in parts[0]:
        # Behind the drive, the host, the way out.
        last = max(i for i, part in enumerate(parts) if part == ".." or (not i and ":" in part))
        inside = parts[last + 1 :] or parts[-1:]
    for start in range(len(inside)):
        path = same_file(folder.joinpath(*inside[start:]))
        if path is not None:
            return path, path.relative_to(folder).as_posix()
    kept = parts if inside is parts else inside[-1:]
    return folder.joinpath(*kept), "/".join(kept)


def same_file(path: Path) -> Path | None:
    """``path``, if it is a file; else the one beside it that Windows or macOS takes for the same.

    That is the only one whose name differs in case, or in how accents are written, alone.
    """
    if is_file(path):
        return path
    try:
        listed = _names_by_fold(str(path.parent), path.parent.stat().st_mtime_ns)
    except OSError:  # there is no such folder
        return None
    names = listed.get(_folded(path.name), [])
    return path.with_name(names[0]) if len(names) == 1 else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


@lru_cache(maxsize=8)
def _names_by_fold(folder: str, modified_ns: int) -> dict[str, list[str]]:
    """The files in ``folder``, listed once: there may be as many questions as images."""
    names = defaultdict(list)
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_file():
                names[_folded(entry.name)].append(entry.name)
    return names


def is_file(path: Path) -> bool:
    """Whether ``path`` is a file; a name that no file can have is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_image(folder: Path, stem: str) -> Path | None:
    """The image ``stem`` with any suffix in ``folder``, the first in the order of suffixes."""
    for suffix in IMAGE_SUFFIXES:
        for candidate in (folder / (stem + suffix), folder / (stem + suffix.upper())):
            if is_file(candidate):
                return candidate
    return None


def list_images(folder: Path) -> list[Path]:
    """All images below ``folder``, ordered by path."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
    return sorted(p for p in found if is_file(p))


def read_pixels(source: Path | bytes) -> np.ndarray:
    """The pixels (H, W) or (H, W, C) as stored: palette indices, 16 bits, after EXIF rotation.

    Raises:
        OSError: there is no such file, or it is no sound image.
    """
    with _opened(source) as image:
        return np.asarray(ImageOps.exif_transpose(image))


def read_mask(file: Path, size: tuple[int, int], log: ConversionLog) -> np.ndarray | None:
    """The values (H, W) or (H, W, C) of a mask for an image of ``size`` (H, W).

    None, with a note, where the file cannot be read or has another size.
    """
    try:
        pixels = read_pixels(file)
    except OSError as error:
        log.note("unreadable mask", f"{file}: {error}; left out")
        return None
    if pixels.shape[:2] != size:
        found = pixels.shape[:2]
        log.note("size mismatch", f"{file}: {found} pixels, the image has {size}; left out")
        return None
    return pixels


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        UserError: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{path} does not exist.") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read as JSON: it is nested too deeply.") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from error


def require_folder(path: Path, what: str) -> Path:
    """``path``, if it is a folder.

    Raises:
        UserError: it is not.
    """
    if not path.is_dir():
        raise UserError(f"{path} is not a folder: {what}.")
    return path


def read_names(path: Path) -> dict[int, str]:
    """Class names by value.

    Args:
        path: lines, the first of value 0; a JSON object {value: name}; or a COCO file, or the list
            of its categories, whose ids are the values.

    Raises:
        UserError: it is none of these.
    """
    if path.suffix == ".json":
        content = read_json(path)
        records = content.get("categories") if isinstance(content, dict) else content
        try:
            if records is not None:
                return {int(record["id"]): str(record["name"]) for record in records}
            return {int(value): str(name) for value, name in content.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{path}: {error!r}; expected {{value: name}} or COCO categories."
            ) from error
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"The file of names {path} cannot be read: {error}.") from error
    return {value: line.strip() for value, line in enumerate(lines) if line.strip()}
