"""Transforms that move pixels, and the augmentations that choose them.

Each moves image, labels and coordinates alike. What comes in from outside the image gets the
``fill`` of the image and ``VOID`` in label maps. Images are (H, W) or (H, W, C) of uint8, uint16
or float32; labels any type of integer, never interpolated. Coordinates are (x, y) in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from fvcore.transforms.transform import (
    HFlipTransform,
    NoOpTransform,
    Transform,
    TransformList,
    VFlipTransform,
)
from PIL import Image
from torch.nn import functional as F

from detectron2.data import transforms as T
from seg_projects.data.augmentation.ranges import Range, as_probability, as_range

# In three channels it is the id 2^24 - 1, which no panoptic file holds.
VOID = 255


class SmoothResize(Transform):
    """Resizes with antialiasing: of uint8 within one grey level of Pillow, and faster."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int) -> None:
        """Takes the size before and after."""
        super().__init__()
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The resized pixels, of the same type."""
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img
        exact = img.dtype in (np.uint8, np.float32)
        pixels = torch.from_numpy(
            np.require(img if exact else img.astype(np.float32), requirements=("C", "W"))
        )
        # (H, W, ...) -> (1, channels, H, W), channels last in memory, which torch has kernels for.
        planes = pixels.reshape(self.h, self.w, -1).permute(2, 0, 1)[None]
        size = (self.new_h, self.new_w)
        resized = F.interpolate(planes, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0)
        result = resized.numpy().reshape(*size, *img.shape[2:])
        return result if exact else _rounded(result, img.dtype)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The scaled (N, 2) coordinates."""
        return coords * np.array((self.new_w / self.w, self.new_h / self.h))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The label under the centre of each new pixel."""
        if segmentation.dtype == np.uint8:
            size = (self.new_w, self.new_h)
            return np.asarray(Image.fromarray(segmentation).resize(size, Image.Resampling.NEAREST))
        rows, columns = (
            ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
            for old, new in ((self.h, self.new_h), (self.w, self.new_w))
        )
        return segmentation.take(rows, axis=0).take(columns, axis=1)

    def inverse(self) -> Transform:
        """The resize back."""
        return SmoothResize(self.new_h, self.new_w, self.h, self.w)


def _rounded(pixels: np.ndarray, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return pixels.astype(dtype)
    limits = np.iinfo(dtype)
    return pixels.round().clip(limits.min, limits.max).astype(dtype)


class Window(Transform):
    """Cuts out a rectangle, which may reach beyond the image."""

    def __init__(self, x0: int, y0: int, w: int, h: int, fill: Sequence[float]) -> None:
        """Takes the corner, in pixels, the size, and the colour of what lies outside."""
        super().__init__()
        self.x0, self.y0, self.w, self.h, self.fill = x0, y0, w, h, tuple(fill)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The pixels of the rectangle."""
        return self._cut(img, fill_values(self.fill, img))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The (N, 2) coordinates, from the rectangle's corner on."""
        return coords - np.array((self.x0, self.y0))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels of the rectangle, ``VOID`` outside."""
        return self._cut(segmentation, VOID)

    def _cut(self, array: np.ndarray, outside: np.ndarray | int) -> np.ndarray:
        height, width = array.shape[:2]
        top, left = max(self.y0, 0), max(self.x0, 0)
        bottom, right = min(self.y0 + self.h, height), min(self.x0 + self.w, width)
        inside = array[top : max(bottom, top), left : max(right, left)]
        if inside.shape[:2] == (self.h, self.w):
            return inside
        result = np.empty((self.h, self.w, *array.shape[2:]), array.dtype)
        result[:] = outside
        y, x = top - self.y0, left - self.x0
        result[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
        return result


def fill_values(fill: Sequence[float], img: np.ndarray) -> np.ndarray:
    """``fill``, in [0, 255] per channel, in the type, scale and channels of ``img``."""
    channels = img.shape[2] if img.ndim == 3 else 1
    values = np.asarray(fill, dtype=np.float64)
    # A colour for an image of another number of channels: its grey.
    values = values if len(values) == channels else np.full(channels, values.mean())
    values = values * 257 if img.dtype == np.uint16 else values
    return _rounded(values, img.dtype) if img.ndim == 3 else _rounded(values, img.dtype)[0]


class Rotation(Transform):
    """Rotates counter-clockwise around the centre."""

    def __init__(
        self, h: int, w: int, angle: float, *, expand: bool, fill: Sequence[float]
    ) -> None:
        """Computes the matrix.

        Args:
            h: height before.
            w: width before.
            angle: in degrees.
            expand: whether the result grows to hold all corners.
            fill: colour of what lies outside.
        """
        super().__init__()
        self.h, self.w, self.angle, self.expand, self.fill = h, w, angle, expand, tuple(fill)
        cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        self.new_h, self.new_w = h, w
        if expand:
            self.new_h = max(1, round(h * abs(cos) + w * abs(sin)))
            self.new_w = max(1, round(h * abs(sin) + w * abs(cos)))
        self.linear = np.array(((cos, sin), (-sin, cos)))
        self.shift = np.array((self.new_w, self.new_h)) / 2 - self.linear @ (w / 2, h / 2)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The rotated pixels, interpolated bilinearly."""
        import cv2

        return self._warp(img, cv2.INTER_LINEAR, fill_values(self.fill, img))

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The rotated (N, 2) coordinates."""
        return coords @ self.linear.T + self.shift

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels that are nearest."""
        import cv2

        return self._warp(segmentation, cv2.INTER_NEAREST, np.array(VOID))

    def _warp(self, array: np.ndarray, method: int, outside: np.ndarray) -> np.ndarray:
        import cv2

        # OpenCV has (0, 0) at the centre of the first pixel, and neither bool nor int64.
        half = np.array((0.5, 0.5))
        matrix = np.column_stack((self.linear, self.linear @ half + self.shift - half))
        known = {"bool": np.uint8, "int64": np.int32}.get(array.dtype.name, array.dtype)
        border = np.resize(outside, 4).astype(float).tolist()
        warped = cv2.warpAffine(
            np.ascontiguousarray(array, dtype=known),
            matrix,
            (self.new_w, self.new_h),
            flags=method,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=border,
        )
        return warped.reshape(*warped.shape[:2], *array.shape[2:]).astype(array.dtype, copy=False)


class QuarterTurn(Transform):
    """Turns counter-clockwise by quarters, which moves every pixel exactly."""

    def __init__(self, h: int, w: int, quarters: int) -> None:
        """Takes the size before, and how many quarters, in [0, 4)."""
        super().__init__()
        self.h, self.w, self.quarters = h, w, quarters

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The turned pixels, a view."""
        return np.rot90(img, self.quarters)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The turned (N, 2) coordinates."""
        width, height = self.w, self.h
        for _ in range(self.quarters):
            coords = np.stack((coords[:, 1], width - coords[:, 0]), axis=1)
            width, height = height, width
        return coords

    def inverse(self) -> Transform:
        """The turn back."""
        turned = self.quarters % 2
        size = (self.w, self.h) if turned else (self.h, self.w)
        return QuarterTurn(*size, -self.quarters % 4)


class ShortestEdge(T.ResizeShortestEdge):
    """Detectron2's ``ResizeShortestEdge``, resizing by :class:`SmoothResize`."""

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize to a random length; none for the length 0."""
        chosen = super().get_transform(image)
        if isinstance(chosen, NoOpTransform):
            return chosen
        return SmoothResize(chosen.h, chosen.w, chosen.new_h, chosen.new_w)


class RandomFlips(T.Augmentation):
    """Mirrors left-right and upside-down, each with a probability of its own."""

    def __init__(self, *, horizontal: float = 0.5, vertical: float = 0.0) -> None:
        """Takes the probabilities."""
        super().__init__()
        self.horizontal = as_probability(horizontal, "horizontal")
        self.vertical = as_probability(vertical, "vertical")

    def get_transform(self, image: np.ndarray) -> Transform:
        """None, one or both flips."""
        height, width = image.shape[:2]
        flips: list[Transform] = []
        if self._rand_range() < self.horizontal:
            flips.append(HFlipTransform(width))
        if self._rand_range() < self.vertical:
            flips.append(VFlipTransform(height))
        return TransformList(flips)


class RandomRotations(T.Augmentation):
    """Rotates around the centre by a random angle; corners that come in are void."""

    def __init__(
        self, *, angle: float | Range, expand: bool = False, fill: Sequence[float] = (0.0,)
    ) -> None:
        """Takes the range.

        Args:
            angle: degrees, counter-clockwise: (least, greatest), or one number for both sides.
            expand: whether the result grows to hold the whole rotated image.
            fill: colour of the corners.
        """
        super().__init__()
        self.angle = as_range(angle, "angle", symmetric=True)
        self.expand, self.fill = bool(expand), tuple(fill)

    def get_transform(self, image: np.ndarray) -> Transform:
        """The rotation by a random angle."""
        angle = float(self._rand_range(*self.angle))
        height, width = image.shape[:2]
        return Rotation(height, width, angle, expand=self.expand, fill=self.fill)


class RandomQuarterTurns(T.Augmentation):
    """Turns by 0, 90, 180 or 270 degrees, all alike: for pictures without an upside."""

    def __init__(self) -> None:
        super().__init__()  # which gives it a printed form

    def get_transform(self, image: np.ndarray) -> Transform:
        """The turn."""
        quarters = int(self._rand_range(4))
        height, width = image.shape[:2]
        return QuarterTurn(height, width, quarters)


class LargeScaleJitter(T.Augmentation):
    """Scales at random, then cuts and pads to a fixed size (arXiv:2012.07177)."""

    def __init__(
        self,
        *,
        size: Sequence[int],
        scale: float | Range = (0.1, 2.0),
        fill: Sequence[float] = (0.0,),
    ) -> None:
        """Takes the size and the range.

        Args:
            size: (height, width) of the result in pixels; of scale 1 is what just fits into it.
            scale: (least, greatest).
            fill: colour of the padding, at the right and at the bottom.
        """
        super().__init__()
        if len(size) != 2 or any(side < 1 for side in size):
            raise ValueError(f"size is {size!r}; it is [height, width] in pixels.")
        self.size, self.fill = (int(size[0]), int(size[1])), tuple(fill)
        self.scale = as_range(scale, "scale", least=1e-3)

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resize and the cut."""
        height, width = image.shape[:2]
        target_h, target_w = self.size
        factor = min(target_h / height, target_w / width) * float(self._rand_range(*self.scale))
        new_h, new_w = max(1, round(height * factor)), max(1, round(width * factor))
        x0 = int(self._rand_range(max(new_w - target_w, 0) + 1))
        y0 = int(self._rand_range(max(new_h - target_h, 0) + 1))
        return TransformList(
            [
                SmoothResize(height, width, new_h, new_w),
                Window(x0, y0, target_w, target_h, self.fill),
            ]
        )
