"""The neutral form between annotation tools and COCO: images with the masks of their objects."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class BoxMask:
    """A binary mask, kept inside its box."""

    pixels: np.ndarray
    """(h, w) bool."""
    x: int
    """Column of the box's left edge in the image, in pixels, >= 0."""
    y: int
    """Row of the box's upper edge in the image, in pixels, >= 0."""

    @classmethod
    def from_full(cls, mask: np.ndarray) -> BoxMask:
        """The (H, W) ``mask`` less its empty margins; (0, 0) pixels where it is empty."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return cls(np.zeros((0, 0), dtype=bool), 0, 0)
        top, left = int(rows[0]), int(columns[0])
        inside = mask[top : rows[-1] + 1, left : columns[-1] + 1]
        return cls(inside.astype(bool), left, top)

    @classmethod
    def placed(cls, pixels: np.ndarray, x: int, y: int, size: tuple[int, int]) -> BoxMask:
        """(h, w) ``pixels`` at column ``x``, row ``y``, cut to an image of ``size`` (H, W)."""
        height, width = size
        top, left = max(0, -y), max(0, -x)
        cut = pixels[top : max(top, height - y), left : max(left, width - x)]
        inner = cls.from_full(cut)
        return cls(inner.pixels, inner.x + max(0, x), inner.y + max(0, y))

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(self.pixels.sum())

    @property
    def box_xywh(self) -> list[int]:
        """COCO's box of a mask without margins: left, top, width, height in pixels."""
        height, width = self.pixels.shape
        return [self.x, self.y, width, height]

    def full(self, size: tuple[int, int]) -> np.ndarray:
        """The (H, W) bool mask of an image of ``size``."""
        mask = np.zeros(size, dtype=bool)
        mask[self.region] = self.pixels
        return mask

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the box."""
        height, width = self.pixels.shape
        return slice(self.y, self.y + height), slice(self.x, self.x + width)


def union(masks: Sequence[BoxMask], size: tuple[int, int]) -> BoxMask:
    """The pixels of any of ``masks``, of an image of ``size`` (H, W)."""
    if len(masks) == 1:
        return masks[0]
    whole = np.zeros(size, dtype=bool)
    for mask in masks:
        whole[mask.region] |= mask.pixels
    return BoxMask.from_full(whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskedObject:
    """One object of an image."""

    label: str
    mask: BoxMask
    polygons: list[list[float]] | None = None
    """x, y, x, y, ... of each polygon, where these describe the object; None with holes."""
    is_crowd: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatedImage:
    """One image and its objects, in the order in which they were drawn."""

    file_name: str
    """Relative, with "/", unique within the data set."""
    source: Path | bytes
    """The image's file, or its content where the annotation embeds it."""
    size: tuple[int, int]
    """(H, W) in pixels."""
    objects: list[MaskedObject]
    image_id: int | None = None
    """Where the source has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderOptions:
    """What a reader cannot know from the files."""

    images: Path | None = None
    """Folder of the images, where they do not lie beside their annotations."""
    instances: Path | None = None
    """Folder of the instance maps beside a folder of class maps."""
    part: str | None = None
    """YOLO: train, val or test, where ``data.yaml`` tells them apart."""
    class_attribute: str | None = None
    """VIA: name of the region attribute that holds the class."""
    default_label: str | None = None
    """Label of objects that have none, as in sets of one class."""
    names: Path | None = None
    """File with the names of the classes: a line each, a JSON object {value: name}, or the
    categories of a COCO file."""


_LONGEST_NOTE = 400  # characters


@dataclass(slots=True)
class ConversionLog:
    """What was left out or interpreted, by kind."""

    entries: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def note(self, kind: str, text: str) -> None:
        """Adds ``text``, which names the file, to those of ``kind``; a long one is cut short."""
        line = " ".join(text.split())
        cut = len(line) > _LONGEST_NOTE
        self.entries[kind].append(f"{line[: _LONGEST_NOTE - 30]} ... {line[-25:]}" if cut else line)

    def table(self, examples: int = 3) -> str:
        """Kinds, how often each, and the first ``examples`` of each; "" without entries."""
        lines = []
        for kind, texts in self.entries.items():
            lines.append(f"{kind}: {len(texts)}")
            lines += [f"    {text}" for text in texts[:examples]]
            if len(texts) > examples:
                lines.append(f"    ... and {len(texts) - examples} more")
        return "\n".join(lines)


Record = dict[str, Any]

# What reading an annotation raises whose fields are missing or of another kind than expected.
MALFORMED = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    OSError,
    RecursionError,
    zlib.error,
)
