"""Deterministic transforms of images and of what is annotated on them.

They complete those of fvcore. Sizes are (height, width), coordinates (x, y) in pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import CropTransform, NoOpTransform, Transform, TransformList
from PIL import Image

__all__ = [
    "ColorTransform",
    "ExtentTransform",
    "PILColorTransform",
    "ResizeTransform",
    "RotationTransform",
]

# From about this number of pixels on, torch's bilinear filter is faster than Pillow's.
_LARGE = 64 * 64

# Pillow's value as a plain number, which defaults show.
BILINEAR: int = Image.Resampling.BILINEAR.value

# OpenCV's values; the library itself is imported where it is used.
_INTER_NEAREST, _INTER_LINEAR = 0, 1

_TORCH_MODES: dict[int, str] = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


class ResizeTransform(Transform):
    """Resizes an image from (``h``, ``w``) to (``new_h``, ``new_w``)."""

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """Stores the sizes.

        Args:
            h: height before.
            w: width before.
            new_h: height after.
            new_w: width after.
            interp: one of Pillow's resampling filters; bilinear if None.
        """
        super().__init__()
        self.h, self.w, self.new_h, self.new_w = h, w, new_h, new_w
        self.interp = BILINEAR if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resizes (H, W), (H, W, C) or, of floats, (N, H, W, C) pixels.

        uint8 is antialiased, as Pillow does it; floats are interpolated without antialiasing.
        """
        self._check_size(img)
        if (self.h, self.w) == (self.new_h, self.new_w):
            return img.copy()
        method = self.interp if interp is None else interp
        size = (self.new_h, self.new_w)
        if img.dtype == np.uint8:
            colour = img.ndim == 3 and img.shape[2] == 3
            if colour and self.h * self.w >= _LARGE and method == Image.Resampling.BILINEAR:
                return _resize_colour(img, size)
            return _resize_pillow(img, size, method)
        if np.issubdtype(img.dtype, np.floating):
            return _resize_float(img, size, method)
        if method == Image.Resampling.NEAREST:
            return _resize_labels(img, size)
        raise NotImplementedError(
            f"pixels of type {img.dtype} cannot be interpolated: give uint8 or floats, or resize "
            "labels with apply_segmentation"
        )

    def _check_size(self, img: np.ndarray) -> None:
        assert img.shape[:2] == (self.h, self.w), (
            f"an image of {img.shape[:2]} pixels came to a resize from {(self.h, self.w)}"
        )
        assert img.ndim <= 4, f"an array of shape {img.shape} is no image"

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scales (N, 2) coordinates."""
        scale = (self.new_w / self.w, self.new_h / self.h)
        return coords * np.asarray(scale, dtype=np.result_type(coords.dtype, np.float32))

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resizes labels of any type by their nearest neighbours."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> Transform:
        """The resize from the new size to the old one."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


def _resize_colour(img: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pillow's bilinear filter on (H, W, 3) uint8: within 1 grey level, about 3 times faster."""
    if not (img.flags.c_contiguous and img.flags.writeable):
        img = np.array(img, order="C")
    pixels = torch.from_numpy(img).permute(2, 0, 1)[None]
    resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    return resized[0].permute(1, 2, 0).numpy()


def _resize_pillow(img: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    single_channel = img.ndim == 3 and img.shape[2] == 1
    image = Image.fromarray(np.ascontiguousarray(img[:, :, 0] if single_channel else img))
    resized = np.asarray(image.resize(size[::-1], Image.Resampling(method)))
    return resized[:, :, None] if single_channel else resized


def _resize_float(img: np.ndarray, size: tuple[int, int], method: int) -> np.ndarray:
    if method not in _TORCH_MODES:
        raise KeyError(f"{Image.Resampling(method)!r} is for uint8; floats need {_TORCH_MODES}")
    mode = _TORCH_MODES[method]
    pixels = torch.from_numpy(np.array(img, order="C"))
    # (H, W, ...) -> (1, channels, H, W)
    planes = pixels.reshape(*img.shape[:2], -1).permute(2, 0, 1)[None]
    align_corners = None if mode == "nearest" else False
    resized = F.interpolate(planes, size, mode=mode, align_corners=align_corners)
    return resized[0].permute(1, 2, 0).reshape(*size, *img.shape[2:]).numpy()


def _resize_labels(img: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixel under the centre of each new pixel, as Pillow's nearest neighbour for uint8."""
    rows, columns = (
        ((np.arange(new) + 0.5) * (old / new)).astype(np.intp)
        for old, new in zip(img.shape[:2], size, strict=True)
    )
    return img[rows[:, None], columns]


class ExtentTransform(Transform):
    """Extracts a subregion of the image and scales it to the output size.

    What lies outside the image gets a constant.
    """

    def __init__(
        self,
        src_rect: tuple[float, float, float, float],
        output_size: tuple[int, int],
        interp: int = BILINEAR,
        fill: int = 0,
    ) -> None:
        """Stores the region.

        Args:
            src_rect: x0, y0, x1, y1 in pixels of the source.
            output_size: (height, width).
            interp: one of Pillow's resampling filters.
            fill: the value outside the source.
        """
        super().__init__()
        self.src_rect, self.output_size = src_rect, output_size
        self.interp, self.fill = interp, fill

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Cuts and scales (H, W), (H, W, 1) or (H, W, 3) uint8 pixels."""
        single_channel = img.ndim == 3 and img.shape[2] == 1
        image = Image.fromarray(np.ascontiguousarray(img[:, :, 0] if single_channel else img))
        cut = image.transform(
            size=self.output_size[::-1],
            method=Image.Transform.EXTENT,
            data=tuple(float(edge) for edge in self.src_rect),
            resample=Image.Resampling(self.interp if interp is None else interp),
            fillcolor=self.fill,
        )
        return np.asarray(cut)[:, :, None] if single_channel else np.asarray(cut)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Maps (N, 2) coordinates into the region; float32."""
        height, width = self.output_size
        x0, y0, x1, y1 = self.src_rect
        origin = np.array((x0, y0), dtype=np.float32)
        scale = np.array((width / (x1 - x0), height / (y1 - y0)), dtype=np.float32)
        return (coords.astype(np.float32) - origin) * scale

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Cuts and scales labels by ``interp``, as Detectron2 does; give NEAREST for classes."""
        return self.apply_image(segmentation)


class RotationTransform(Transform):
    """Rotates the image counter-clockwise around a point."""

    def __init__(
        self,
        h: int,
        w: int,
        angle: float,
        expand: bool = True,
        center: tuple[float, float] | None = None,
        interp: int | None = None,
    ) -> None:
        """Computes the size and the matrices.

        Args:
            h: height before.
            w: width before.
            angle: degrees.
            expand: whether the result grows to hold the whole rotated image.
            center: (x, y) of the fixed point, when not expanding; the image's centre if None.
            interp: one of OpenCV's interpolation methods; linear if None.
        """
        super().__init__()
        self.h, self.w, self.angle, self.expand = h, w, angle, expand
        self.image_center = np.array((w / 2, h / 2))
        self.center = self.image_center if center is None else center
        self.interp = _INTER_LINEAR if interp is None else interp
        self.abs_cos = abs(float(np.cos(np.deg2rad(angle))))
        self.abs_sin = abs(float(np.sin(np.deg2rad(angle))))
        self.bound_w, self.bound_h = w, h
        if expand:
            self.bound_w = round(h * self.abs_sin + w * self.abs_cos)
            self.bound_h = round(h * self.abs_cos + w * self.abs_sin)
        self.rm_coords = self.create_rotation_matrix()
        # The centre of the first pixel is at (0.5, 0.5) here, and at (0, 0) for OpenCV.
        self.rm_image = self.create_rotation_matrix(offset=-0.5)

    def create_rotation_matrix(self, offset: float = 0) -> np.ndarray:
        """The (2, 3) matrix of the rotation, in a frame shifted by ``offset`` pixels."""
        radians = np.deg2rad(self.angle)
        cos, sin = np.cos(radians), np.sin(radians)
        linear = np.array([[cos, sin], [-sin, cos]])
        fixed = np.asarray(self.center) + offset
        shift = fixed - linear @ fixed
        if self.expand:
            centre = self.image_center + offset
            shift += np.array((self.bound_w, self.bound_h)) / 2 + offset - (linear @ centre + shift)
        return np.column_stack((linear, shift))

    def _moves_nothing(self) -> bool:
        return self.angle % 360 == 0

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Rotates (H, W) or (H, W, C) pixels; zeros come in from outside."""
        if img.size == 0 or self._moves_nothing():
            return img
        assert img.shape[:2] == (self.h, self.w), (
            f"an image of {img.shape[:2]} pixels came to a rotation of {(self.h, self.w)}"
        )
        import cv2

        # OpenCV knows neither bool nor int64.
        known = {"bool": np.uint8, "int64": np.int32}.get(img.dtype.name, img.dtype)
        rotated = cv2.warpAffine(
            np.ascontiguousarray(img, dtype=known),
            self.rm_image,
            (self.bound_w, self.bound_h),
            flags=self.interp if interp is None else interp,
        )
        return rotated.reshape(*rotated.shape[:2], *img.shape[2:]).astype(img.dtype, copy=False)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Rotates (N, 2) coordinates; floats."""
        coords = np.asarray(coords, dtype=float)
        if len(coords) == 0 or self._moves_nothing():
            return coords
        return coords @ self.rm_coords[:, :2].T + self.rm_coords[:, 2]

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Rotates labels by their nearest neighbours."""
        return self.apply_image(segmentation, interp=_INTER_NEAREST)

    def inverse(self) -> Transform:
        """The rotation back, followed by the crop to the original size."""
        if not self.expand:
            raise NotImplementedError("a rotation with expand=False loses pixels: no inverse")
        back = RotationTransform(
            self.bound_h, self.bound_w, -self.angle, expand=True, center=None, interp=self.interp
        )
        x0, y0 = (back.bound_w - self.w) // 2, (back.bound_h - self.h) // 2
        return TransformList([back, CropTransform(x0, y0, self.w, self.h)])


class ColorTransform(Transform):
    """Changes pixel values by a function of the array and leaves all positions as they are."""

    def __init__(self, op: Callable[[Any], Any]) -> None:
        """Stores ``op``: pixels -> pixels of the same shape."""
        if not callable(op):
            raise ValueError(f"op parameter should be callable, not {op!r}")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op(img)``."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The coordinates themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels themselves."""
        return segmentation

    def inverse(self) -> Transform:
        """No operation: colours cannot be restored, and positions did not change."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """Changes pixel values by a function of the Pillow image, such as those of ``ImageOps``."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op`` of the uint8 image, as an array."""
        return np.asarray(self.op(Image.fromarray(np.ascontiguousarray(img))))
