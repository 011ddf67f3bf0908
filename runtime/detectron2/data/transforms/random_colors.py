"""Random changes of brightness, contrast, saturation and lighting.

Each blends the image with a reference by :class:`BlendTransform`, which rounds and clips uint8.
"""

from __future__ import annotations

import numpy as np
from fvcore.transforms.transform import BlendTransform, Transform

from detectron2.data.transforms.augmentation import Augmentation

# Rec. 601 luma of R, G, B.
_LUMA = (0.299, 0.587, 0.114)


class RandomContrast(Augmentation):
    """Blends with the image's mean value: below 1 less contrast, above 1 more."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """Stores the range of the intensity; 1 changes nothing."""
        super().__init__()
        self.intensity_min, self.intensity_max = intensity_min, intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blend of random intensity."""
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=image.mean(), src_weight=1 - weight, dst_weight=weight)


class RandomBrightness(Augmentation):
    """Blends with black: below 1 darker, above 1 brighter."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """Stores the range of the intensity; 1 changes nothing."""
        super().__init__()
        self.intensity_min, self.intensity_max = intensity_min, intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blend of random intensity."""
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(src_image=0, src_weight=1 - weight, dst_weight=weight)


class RandomSaturation(Augmentation):
    """Blends an RGB image with its grey version: below 1 paler, above 1 more colourful."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """Stores the range of the intensity; 1 changes nothing."""
        super().__init__()
        self.intensity_min, self.intensity_max = intensity_min, intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        """The blend of random intensity."""
        _require_colour(self, image)
        weight = np.random.uniform(self.intensity_min, self.intensity_max)
        grey = image.dot(_LUMA)[:, :, None]
        return BlendTransform(src_image=grey, src_weight=1 - weight, dst_weight=weight)


class RandomLighting(Augmentation):
    """Adds a random colour along ImageNet's principal components, as AlexNet's training did."""

    def __init__(self, scale: float) -> None:
        """Stores the standard deviation of the three coefficients."""
        super().__init__()
        self.scale = scale
        self.eigen_vecs = np.array(
            [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
        )
        self.eigen_vals = np.array([0.2175, 0.0188, 0.0045])

    def get_transform(self, image: np.ndarray) -> Transform:
        """The addition of a random colour to an RGB image."""
        _require_colour(self, image)
        coefficients = np.random.normal(scale=self.scale, size=3)
        colour = self.eigen_vecs.dot(coefficients * self.eigen_vals)
        return BlendTransform(src_image=colour, src_weight=1.0, dst_weight=1.0)


def _require_colour(augmentation: Augmentation, image: np.ndarray) -> None:
    assert image.ndim == 3 and image.shape[2] == 3, (  # noqa: PT018  (one condition for users)
        f"{type(augmentation).__name__} only works on RGB images, not on the shape {image.shape}"
    )
