"""NIfTI-1 volumes (.nii, .nii.gz) as slices: images of 8 bits and their label maps.

The header is read by the standard's byte positions; no other package is needed. Slices follow the
third axis; a slice's columns are the first axis, its rows the second.
"""

from __future__ import annotations

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seg_projects.data.conversion.annotated import AnnotatedImage, ConversionLog, ReaderOptions
from seg_projects.data.conversion.image_files import read_names, require_folder
from seg_projects.data.conversion.mask_folders import class_objects
from seg_projects.errors import UserError

HEADER_SIZE = 348
_LARGEST = 1 << 32  # bytes of a volume
# Codes of the standard that numpy has types for.
_TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}


def read_nifti_volume(path: Path) -> np.ndarray:
    """The (X, Y, Z) values of a volume, scaled as its header says.

    Raises:
        ValueError: the file is no NIfTI-1 file with three axes, or its data end early.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            values, shape, offset, scale = _read_header(stream.read(HEADER_SIZE))
            # Not more than it needs: a small file can stand for endless zeros.
            rest = stream.read(offset - HEADER_SIZE + math.prod(shape) * values.itemsize)
    except (EOFError, zlib.error) as error:
        raise ValueError(f"its compression is damaged: {error}") from error
    if len(rest) < offset - HEADER_SIZE + math.prod(shape) * values.itemsize:
        raise ValueError(f"it ends before its {math.prod(shape)} values")
    volume = np.frombuffer(rest, values, math.prod(shape), offset - HEADER_SIZE)
    volume = volume.reshape(shape, order="F")
    slope, intercept = scale
    # Slope 0 means: not scaled.
    if slope and (slope, intercept) != (1, 0):
        return volume * slope + intercept
    return volume


def _read_header(
    content: bytes,
) -> tuple[np.dtype[Any], tuple[int, ...], int, tuple[float, float]]:
    """Type of the values, lengths of the axes, where the values begin, slope and intercept."""
    if len(content) < HEADER_SIZE or content[344:347] != b"n+1":
        raise ValueError("it is no NIfTI-1 file with header and data in one")
    order = "<" if struct.unpack_from("<i", content)[0] == HEADER_SIZE else ">"
    axes, *lengths = struct.unpack_from(f"{order}8h", content, 40)
    kind = struct.unpack_from(f"{order}h", content, 70)[0]
    offset, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
    if kind not in _TYPES:
        raise ValueError(f"values of the kind {kind} are not supported")
    shape = lengths[: max(axes, 0)]
    if axes < 3 or min(shape) < 1 or any(length != 1 for length in shape[3:]):
        raise ValueError(f"its axes are {shape}; slices need three")
    values = np.dtype(order + _TYPES[kind])
    if not HEADER_SIZE <= offset <= _LARGEST:
        raise ValueError(f"its values begin at {offset}")
    if math.prod(shape) * values.itemsize > _LARGEST:
        raise ValueError(f"its axes are {shape}: more than {_LARGEST} bytes")
    return values, tuple(shape[:3]), int(offset), (slope, intercept)


def read_nifti(
    source: Path, options: ReaderOptions, log: ConversionLog
) -> Iterator[AnnotatedImage]:
    """The slices of ``source/images/*`` with those of ``source/labels/*`` of the same names.

    Intensities are stretched per volume, from its 0.5th to its 99.5th percentile.
    """
    if options.names is None:
        raise UserError("Volumes need --names: a file that names their label values.")
    names = read_names(options.names)
    images = options.images or require_folder(source / "images", "it holds the volumes")
    labels = require_folder(source / "labels", "it holds the volumes of labels")
    files = sorted(p for p in images.iterdir() if p.name.endswith((".nii", ".nii.gz")))
    if not files:
        raise UserError(f"{images} holds no .nii or .nii.gz file.")
    for file in files:
        label = next((p for n in _names(file) if (p := labels / n).is_file()), None)
        if label is None:
            log.note("volume without labels", f"{file}; left out")
            continue
        try:
            volume, classes = read_nifti_volume(file), read_nifti_volume(label)
        except (ValueError, OSError) as error:
            log.note("unreadable volume", f"{file} or {label}: {error}; left out")
            continue
        if volume.shape != classes.shape:
            text = f"{label}: {classes.shape} voxels, the image {volume.shape}; left out"
            log.note("size mismatch", text)
            continue
        yield from _slices(file.name.split(".nii")[0], volume, classes, names, log)


def _names(file: Path) -> tuple[str, str]:
    stem = file.name.split(".nii")[0]
    return f"{stem}.nii.gz", f"{stem}.nii"


def _slices(
    stem: str, volume: np.ndarray, classes: np.ndarray, names: dict[int, str], log: ConversionLog
) -> Iterator[AnnotatedImage]:
    grey = _stretched(volume)
    values = np.rint(classes).astype(np.int32)
    width, height, depth = volume.shape
    for number in range(depth):
        name = f"{stem}_{number:03}.png"
        buffer = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(grey[..., number].T)).save(buffer, format="PNG")
        objects = list(class_objects(values[..., number].T, names, name, log))
        yield AnnotatedImage(
            file_name=name, source=buffer.getvalue(), size=(height, width), objects=objects
        )


def _stretched(volume: np.ndarray) -> np.ndarray:
    """The volume as uint8; all 0 where it has one value."""
    finite = np.nan_to_num(volume.astype(np.float64))
    low, high = np.percentile(finite, (0.5, 99.5))
    scale = 255 / (high - low) if high > low else 0.0
    return np.clip((finite - low) * scale + 0.5, 0, 255).astype(np.uint8)
