"""Random flips, resizes and rotations; crops and colours come from their own modules.

The order of the random numbers is part of the interface: with ``numpy.random.seed`` the chosen
transforms are reproducible. Sizes are (height, width) unless named otherwise.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import (
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)

from detectron2.data.transforms.augmentation import Augmentation, as_augmentation
from detectron2.data.transforms.random_colors import (
    RandomBrightness,
    RandomContrast,
    RandomLighting,
    RandomSaturation,
)
from detectron2.data.transforms.random_crops import (
    FixedSizeCrop,
    MinIoURandomCrop,
    RandomCrop,
    RandomCrop_CategoryAreaConstraint,
)
from detectron2.data.transforms.transform import (
    BILINEAR,
    ExtentTransform,
    ResizeTransform,
    RotationTransform,
)

__all__ = [
    "FixedSizeCrop",
    "MinIoURandomCrop",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomCrop_CategoryAreaConstraint",
    "RandomExtent",
    "RandomFlip",
    "RandomLighting",
    "RandomResize",
    "RandomRotation",
    "RandomSaturation",
    "Resize",
    "ResizeScale",
    "ResizeShortestEdge",
]


class RandomApply(Augmentation):
    """Applies an augmentation or transform with a probability, else nothing."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        """Stores the augmentation and its probability, in [0, 1]."""
        super().__init__()
        assert 0.0 <= prob <= 1.0, f"prob={prob} is no probability: it must be in [0, 1]"
        self.aug = as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """The transform of the augmentation, or none."""
        return self.aug.get_transform(*args) if self._happens() else NoOpTransform()

    def __call__(self, aug_input: Any) -> Transform:
        """Applies the augmentation, which reads the input itself, or nothing."""
        return self.aug(aug_input) if self._happens() else NoOpTransform()

    def _happens(self) -> bool:
        return self._rand_range() < self.prob


class RandomFlip(Augmentation):
    """Flips horizontally or vertically with a probability."""

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        """Takes one direction; for both, use two flips."""
        super().__init__()
        if horizontal == vertical:
            raise ValueError(
                f"horizontal={horizontal} and vertical={vertical}: choose one; for both use two "
                "RandomFlip, for none leave it out"
            )
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """The flip, or none."""
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resizes to a fixed size."""

    def __init__(self, shape: int | Sequence[int], interp: int = BILINEAR) -> None:
        """Takes (height, width), or one number for both, and one of Pillow's filters."""
        super().__init__()
        new_h, new_w = (shape, shape) if isinstance(shape, int) else shape
        self.shape = (new_h, new_w)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize."""
        height, width = image.shape[:2]
        return ResizeTransform(height, width, *self.shape, self.interp)


class RandomResize(Augmentation):
    """Resizes to one of several sizes."""

    def __init__(self, shape_list: Sequence[tuple[int, int]], interp: int = BILINEAR) -> None:
        """Takes the (height, width) to choose from, and one of Pillow's filters."""
        super().__init__()
        self.shape_list, self.interp = shape_list, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize to a random entry."""
        shape = self.shape_list[np.random.randint(len(self.shape_list))]
        height, width = image.shape[:2]
        return ResizeTransform(height, width, *shape, self.interp)


class ResizeShortestEdge(Augmentation):
    """Scales the shorter side to a random length, unless the longer one gets too long."""

    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = BILINEAR,
    ) -> None:
        """Stores the lengths.

        Args:
            short_edge_length: for ``"range"`` the smallest and largest length, in pixels; for
                ``"choice"`` the lengths to choose from. 0 leaves the image as it is.
            max_size: greatest length of the longer side, in pixels.
            sample_style: ``"range"`` or ``"choice"``.
            interp: one of Pillow's resampling filters.
        """
        super().__init__()
        assert sample_style in ("range", "choice"), (
            f"sample_style={sample_style!r} is neither 'range' nor 'choice'"
        )
        self.is_range = sample_style == "range"
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        assert not self.is_range or len(short_edge_length) == 2, (
            f"short_edge_length={short_edge_length}: a range has two ends"
        )
        self.short_edge_length, self.max_size = short_edge_length, max_size
        self.sample_style, self.interp = sample_style, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize to a random length."""
        if self.is_range:
            low, high = self.short_edge_length
            length = np.random.randint(low, high + 1)
        else:
            length = np.random.choice(self.short_edge_length)
        if length == 0:
            return NoOpTransform()
        height, width = image.shape[:2]
        shape = self.get_output_shape(height, width, int(length), self.max_size)
        return ResizeTransform(height, width, *shape, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """(height, width) after scaling the shorter side of (oldh, oldw), rounded."""
        scale = short_edge_length / min(oldh, oldw)
        if oldh < oldw:
            new_h, new_w = float(short_edge_length), scale * oldw
        else:
            new_h, new_w = scale * oldh, float(short_edge_length)
        longer = max(new_h, new_w)
        if longer > max_size:
            new_h, new_w = new_h * (max_size / longer), new_w * (max_size / longer)
        return int(new_h + 0.5), int(new_w + 0.5)


class ResizeScale(Augmentation):
    """Scales to fit a randomly scaled target size: the jitter of arXiv:2012.07177."""

    def __init__(
        self,
        min_scale: float,
        max_scale: float,
        target_height: int,
        target_width: int,
        interp: int = BILINEAR,
    ) -> None:
        """Stores the range of the scale and the size, in pixels, to which scale 1 fits."""
        super().__init__()
        self.min_scale, self.max_scale = min_scale, max_scale
        self.target_height, self.target_width = target_height, target_width
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize by a random scale."""
        scale = np.random.uniform(self.min_scale, self.max_scale)
        height, width = image.shape[:2]
        factor = min(self.target_height * scale / height, self.target_width * scale / width)
        shape = (round(height * factor), round(width * factor))
        return ResizeTransform(height, width, *shape, self.interp)


class RandomRotation(Augmentation):
    """Rotates counter-clockwise by a random angle around a random point."""

    def __init__(
        self,
        angle: float | Sequence[float],
        expand: bool = True,
        center: Sequence[Sequence[float]] | None = None,
        sample_style: str = "range",
        interp: int | None = None,
    ) -> None:
        """Stores the ranges.

        Args:
            angle: degrees; for ``"range"`` the smallest and largest, for ``"choice"`` those to
                choose from.
            expand: whether the result grows to hold the whole rotated image.
            center: (x, y) of the fixed point, as fractions of the width and height: the ends of
                the range, or the points to choose from; the image's centre if None.
            sample_style: ``"range"`` or ``"choice"``.
            interp: one of OpenCV's interpolation methods; linear if None.
        """
        super().__init__()
        assert sample_style in ("range", "choice"), (
            f"sample_style={sample_style!r} is neither 'range' nor 'choice'"
        )
        self.is_range = sample_style == "range"
        self.angle = (angle, angle) if isinstance(angle, (int, float)) else angle
        if center is not None and isinstance(center[0], (int, float)):
            center = (center, center)  # type: ignore[assignment]
        self.expand, self.center = expand, center
        self.sample_style, self.interp = sample_style, interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The rotation, or none for a multiple of 360 degrees."""
        height, width = image.shape[:2]
        angle, centre = self._sample()
        if angle % 360 == 0:
            return NoOpTransform()
        if centre is not None:
            centre = (width * centre[0], height * centre[1])
        return RotationTransform(height, width, angle, self.expand, centre, self.interp)

    def _sample(self) -> tuple[float, tuple[float, float] | None]:
        """A random angle, in degrees, and fixed point, as fractions of width and height."""
        if not self.is_range:
            angle = np.random.choice(self.angle)
            if self.center is None:
                return angle, None
            x, y = self.center[np.random.choice(len(self.center))]
            return angle, (x, y)
        angle = np.random.uniform(self.angle[0], self.angle[1])
        if self.center is None:
            return angle, None
        (x0, y0), (x1, y1) = self.center[:2]
        return angle, (np.random.uniform(x0, x1), np.random.uniform(y0, y1))


class RandomExtent(Augmentation):
    """Takes a randomly scaled and shifted part of the image; outside of it are zeros."""

    def __init__(self, scale_range: tuple[float, float], shift_range: tuple[float, float]) -> None:
        """Stores the ranges.

        Args:
            scale_range: smallest and largest size of the part, relative to the image.
            shift_range: (x, y) widths of the shift's range, relative to the image: the centre
                moves by up to half of them to either side.
        """
        super().__init__()
        self.scale_range, self.shift_range = scale_range, shift_range

    def get_transform(self, image: np.ndarray) -> Transform:
        """The transform of a random part."""
        height, width = image.shape[:2]
        scale = np.random.uniform(*self.scale_range)
        centre_x = width * (0.5 + self.shift_range[0] * (np.random.rand() - 0.5))
        centre_y = height * (0.5 + self.shift_range[1] * (np.random.rand() - 0.5))
        x0, x1 = centre_x - 0.5 * width * scale, centre_x + 0.5 * width * scale
        y0, y1 = centre_y - 0.5 * height * scale, centre_y + 0.5 * height * scale
        return ExtentTransform((x0, y0, x1, y1), (int(y1 - y0), int(x1 - x0)))
