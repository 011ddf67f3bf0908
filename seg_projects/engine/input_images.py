"""The images that a prediction is asked for, each with the name of what is written of it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from seg_projects.data.datasets.semantic import IMAGE_SUFFIXES
from seg_projects.data.images import read_image
from seg_projects.errors import UserError


class InputImage(NamedTuple):
    """An image file."""

    path: Path
    """Where it is."""
    file_name: str
    """Its path below the folder that was given, with slashes: ``day1/a.jpg``."""
    name: str
    """Of what is written, without the suffix, one per image: ``day1/a``."""


def find_images(paths: Sequence[str | Path], *, leave_out: Path | None = None) -> list[InputImage]:
    """The image files among ``paths`` and in folders at any depth, in the order of names.

    Names are relative to the folder that was given. Where two of several would have one name, all
    are relative to the folder that holds all of ``paths``. ``a.jpg`` beside ``a.png`` keep their
    suffixes: ``a.jpg.png`` is written of the first. Hidden files and folders are passed over.

    Args:
        paths: files, whatever their suffix, and folders.
        leave_out: a folder below those, such as the one of an earlier prediction.

    Raises:
        UserError: a path does not exist, or there is no image at all.
    """
    # By absolute path, the path as it was given, and relative to what was given.
    found: dict[str, tuple[Path, str]] = {}
    for path in map(Path, paths):
        if path.is_dir():
            for file in sorted(_files_below(path, leave_out)):
                below = file.relative_to(path).as_posix()
                found.setdefault(os.path.abspath(file), (file, below))
        elif path.is_file():
            found.setdefault(os.path.abspath(path), (path, path.name))
        else:
            raise UserError(f"The input {path} does not exist.")
    if not found:
        raise UserError(
            f"No image ({', '.join(sorted(IMAGE_SUFFIXES))}) in {', '.join(map(str, paths))}."
        )
    files = [file for file, _ in found.values()]
    file_names = [file_name for _, file_name in found.values()]
    if len(set(file_names)) < len(file_names):
        shared = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
        file_names = [Path(path).relative_to(shared).as_posix() for path in found]
    return list(map(InputImage, files, file_names, _unique_names(file_names)))


def check_output(output: Path, paths: Sequence[str | Path]) -> None:
    """Checks that what is written cannot take the place of what is read.

    Raises:
        UserError: the folder of the output is one of the inputs, or a file.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file: choose a folder.")
    if os.path.realpath(output) in map(os.path.realpath, paths):
        raise UserError(
            f"--output {output} is the folder of the images, whose own labels or overlays would be "
            "overwritten: choose another one."
        )


def _files_below(folder: Path, leave_out: Path | None) -> Iterator[Path]:
    """Image files at any depth, behind links to folders too, each folder once."""
    seen = set() if leave_out is None else {os.path.realpath(leave_out)}
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if Path(name).suffix.lower() in IMAGE_SUFFIXES and not name.startswith("."):
                yield Path(root, name)


def _unique_names(file_names: list[str]) -> list[str]:
    """The names without suffix, and with it where several would be one."""
    names = [str(PurePosixPath(name).with_suffix("")) for name in file_names]
    while repeated := {name for name, count in Counter(names).items() if count > 1}:
        names = [
            file_name if name in repeated else name
            for name, file_name in zip(names, file_names, strict=True)
        ]
    return names


def read_image_rgb(path: Path) -> np.ndarray:
    """The (H, W, 3) RGB image at ``path``, upright: uint8, or float32 in [0, 255] of 16 bits.

    Raises:
        UserError: see :func:`seg_projects.data.images.read_image`.
    """
    return read_image(str(path), "RGB")


def in_eight_bits(image: np.ndarray) -> np.ndarray:
    """``image`` to look at: uint8."""
    return image if image.dtype == np.uint8 else np.rint(image).astype(np.uint8)
