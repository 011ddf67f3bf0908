"""Transforms of pixel values, which leave all positions as they are, and their augmentations.

Images are (H, W), (H, W, 1) or (H, W, 3): uint8, uint16, or float32 in [0, 255]. Sizes of an effect
are in grey levels of 255, whatever the type.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import NoOpTransform, Transform

from detectron2.data import transforms as T
from seg_projects.data.augmentation.geometry import fill_values
from seg_projects.data.augmentation.ranges import Range, as_range

# Rec. 601 luma of R, G, B.
_LUMA = np.array((0.299, 0.587, 0.114))
# R, G, B to luma and two chroma axes (NTSC's I and Q).
_YIQ = np.array((_LUMA, (0.596, -0.274, -0.322), (0.211, -0.523, 0.312)))


class PixelTransform(Transform):
    """A transform that moves nothing: coordinates and labels are as they were."""

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The coordinates themselves."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels themselves."""
        return segmentation

    def inverse(self) -> Transform:
        """None: values cannot be restored, and positions did not change."""
        return NoOpTransform()


def greatest_value(img: np.ndarray) -> float:
    """The value of white: 65535 for uint16, else 255."""
    return 65535.0 if img.dtype == np.uint16 else 255.0


class ColourMatrix(PixelTransform):
    """Each pixel times a matrix, plus a constant."""

    def __init__(self, matrix: np.ndarray, offset: float) -> None:
        """Takes a (C, C) matrix and what is added to every channel, in grey levels of 255."""
        super().__init__()
        self.matrix, self.offset = matrix, offset

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The new pixels, cut to the range of their type."""
        import cv2

        white = greatest_value(img)
        channels = len(self.matrix)
        affine = np.column_stack((self.matrix, np.full(channels, self.offset * white / 255)))
        # OpenCV rounds integers and cuts them off.
        changed = cv2.transform(np.ascontiguousarray(img), affine.astype(np.float32))
        changed = changed.reshape(img.shape)
        return changed if img.dtype.kind == "u" else changed.clip(0, white, out=changed)


class GaussianNoise(PixelTransform):
    """Adds independent Gaussian noise to every value; the same for the same seed."""

    def __init__(self, sigma: float, seed: int) -> None:
        """Takes the standard deviation, in grey levels of 255."""
        super().__init__()
        self.sigma, self.seed = float(sigma), seed

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The noisy pixels."""
        white = greatest_value(img)
        noise = np.random.default_rng(self.seed).standard_normal(img.shape, dtype=np.float32)
        noise *= self.sigma * white / 255
        noise += img
        if img.dtype.kind == "u":
            np.rint(noise, out=noise)
        return noise.clip(0, white, out=noise).astype(img.dtype, copy=False)


class GaussianBlur(PixelTransform):
    """Smooths by a Gaussian."""

    def __init__(self, sigma: float) -> None:
        """Takes the standard deviation, in pixels; 0 changes nothing."""
        super().__init__()
        self.sigma = float(sigma)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The smooth pixels."""
        import cv2

        if self.sigma == 0:
            return img
        side = 2 * int(np.ceil(3 * self.sigma)) + 1  # OpenCV's own choice depends on the type
        blurred = cv2.GaussianBlur(np.ascontiguousarray(img), (side, side), self.sigma)
        return blurred.reshape(img.shape)


class Cutout(PixelTransform):
    """Covers rectangles of the image; the labels stay, to be told from what is around them."""

    def __init__(self, boxes_xyxy: np.ndarray, fill: Sequence[float]) -> None:
        """Takes (N, 4) pixel coordinates, and the colour."""
        super().__init__()
        self.boxes_xyxy, self.fill = boxes_xyxy, tuple(fill)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """The image with holes."""
        img = img.copy()
        for x0, y0, x1, y1 in self.boxes_xyxy.tolist():
            img[y0:y1, x0:x1] = fill_values(self.fill, img)
        return img


class RandomColour(T.Augmentation):
    """Changes brightness, contrast, saturation and hue, in one pass over the pixels.

    All four are linear in the pixel, so they make up one matrix; hue turns the plane of NTSC's
    chroma axes. Of a grey image brightness and contrast change.
    """

    def __init__(
        self,
        *,
        brightness: float | Range = 1.0,
        contrast: float | Range = 1.0,
        saturation: float | Range = 1.0,
        hue: float | Range = 0.0,
        image_format: str = "BGR",
    ) -> None:
        """Takes the ranges, (least, greatest).

        Args:
            brightness: factor on the values.
            contrast: factor on the differences from the image's mean grey.
            saturation: factor on the differences from each pixel's own grey.
            hue: angle in degrees; one number for both sides.
            image_format: ``"RGB"`` or ``"BGR"``.
        """
        super().__init__()
        self.brightness = as_range(brightness, "brightness", least=0)
        self.contrast = as_range(contrast, "contrast", least=0)
        self.saturation = as_range(saturation, "saturation", least=0)
        self.hue = as_range(hue, "hue", symmetric=True)
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> Transform:
        """The matrix of random changes."""
        names = ("brightness", "contrast", "saturation", "hue")
        brightness, contrast, saturation, hue = (self._rand_range(*getattr(self, n)) for n in names)
        weights = _channel_weights(image, self.image_format)
        mean = float(image.mean(axis=(0, 1)) @ weights) if image.ndim == 3 else float(image.mean())
        grey = mean * 255 / greatest_value(image)
        matrix = np.eye(len(weights))
        if len(weights) == 3:
            matrix = _saturation_and_hue(saturation, hue, self.image_format)
        # Grey pixels stay grey under saturation and hue: so the constant passes through.
        return ColourMatrix(matrix * brightness * contrast, brightness * (1 - contrast) * grey)


def _channel_weights(image: np.ndarray, image_format: str) -> np.ndarray:
    """The shares of the channels in a pixel's grey."""
    if image.ndim == 2 or image.shape[2] == 1:
        return np.ones(1)
    return _LUMA[::-1] if image_format == "BGR" else _LUMA


def _saturation_and_hue(saturation: float, hue: float, image_format: str) -> np.ndarray:
    """The (3, 3) matrix of both, in the order of the channels."""
    cos, sin = np.cos(np.deg2rad(hue)), np.sin(np.deg2rad(hue))
    turn = np.array(((1, 0, 0), (0, saturation * cos, -saturation * sin),
                     (0, saturation * sin, saturation * cos)))  # fmt: skip
    matrix = np.linalg.inv(_YIQ) @ turn @ _YIQ
    return matrix[::-1, ::-1] if image_format == "BGR" else matrix


class RandomGrey(T.Augmentation):
    """Takes the colours away: all channels become the pixel's grey."""

    def __init__(self, *, image_format: str = "BGR") -> None:
        """Takes the order of the channels."""
        super().__init__()
        self.image_format = image_format

    def get_transform(self, image: np.ndarray) -> Transform:
        """The matrix that takes the grey."""
        weights = _channel_weights(image, self.image_format)
        return ColourMatrix(np.tile(weights, (len(weights), 1)), 0.0)


class RandomNoise(T.Augmentation):
    """Adds Gaussian noise of a random size."""

    def __init__(self, *, sigma: float | Range) -> None:
        """Takes the range of the standard deviation, in grey levels of 255."""
        super().__init__()
        self.sigma = as_range(sigma, "sigma", least=0)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Noise of a random size and seed."""
        return GaussianNoise(self._rand_range(*self.sigma), int(self._rand_range(2**31)))


class RandomBlur(T.Augmentation):
    """Smooths by a Gaussian of random width."""

    def __init__(self, *, sigma: float | Range) -> None:
        """Takes the range of the standard deviation, in pixels."""
        super().__init__()
        self.sigma = as_range(sigma, "sigma", least=0)

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blur of a random width."""
        return GaussianBlur(self._rand_range(*self.sigma))


class RandomCutout(T.Augmentation):
    """Covers random rectangles of the image."""

    def __init__(
        self,
        *,
        count: int | Range = 1,
        size: float | Range = (0.1, 0.3),
        fill: Sequence[float] = (0.0,),
    ) -> None:
        """Takes the ranges.

        Args:
            count: how many rectangles, (least, greatest).
            size: of their sides, relative to the image's, (least, greatest).
            fill: their colour.
        """
        super().__init__()
        self.count = as_range(count, "count", least=0)
        self.size = as_range(size, "size", least=0)
        self.fill = tuple(fill)

    def get_transform(self, image: np.ndarray) -> Transform:
        """Rectangles of random sizes, whole inside the image where they fit."""
        fewest, most = (int(c) for c in self.count)
        number = fewest + int(self._rand_range(most - fewest + 1))
        limit = np.array(image.shape[1::-1])  # (width, height)
        drawn = self._rand_range(size=4 * number).reshape(2, number, 2)
        low, high = self.size
        sides = np.minimum((low + (high - low) * drawn[0]) * limit, limit).round().astype(np.int64)
        corner = (drawn[1] * (limit - sides + 1)).astype(np.int64)
        return Cutout(np.concatenate((corner, corner + sides), axis=1), self.fill)
