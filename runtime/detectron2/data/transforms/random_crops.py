"""Random crops. Sizes are (height, width)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from fvcore.transforms.transform import (
    CropTransform,
    NoOpTransform,
    PadTransform,
    Transform,
    TransformList,
)

from detectron2.data.transforms.augmentation import Augmentation

_CROP_TYPES = ("relative_range", "relative", "absolute", "absolute_range")


class FixedSizeCrop(Augmentation):
    """Crops a random part where the image is larger than a size, and pads where it is smaller."""

    def __init__(
        self,
        crop_size: tuple[int, int],
        pad: bool = True,
        pad_value: float = 128.0,
        seg_pad_value: int = 255,
    ) -> None:
        """Stores the size.

        Args:
            crop_size: (height, width) of the result.
            pad: whether to pad; without it, small images stay smaller.
            pad_value: the value of padded pixels.
            seg_pad_value: the label of padded pixels.
        """
        super().__init__()
        self.crop_size, self.pad = crop_size, pad
        self.pad_value, self.seg_pad_value = pad_value, seg_pad_value

    def get_transform(self, image: np.ndarray) -> TransformList:
        """A crop at a random offset, then the padding at the right and the bottom."""
        transforms: list[Transform] = [self._crop(image)]
        if self.pad:
            transforms.append(self._padding(image))
        return TransformList(transforms)

    def _crop(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_h, crop_w = self.crop_size
        # One number for both axes: the offset lies on the diagonal of its range.
        fraction = np.random.uniform(0.0, 1.0)
        y0 = round(max(height - crop_h, 0) * fraction)
        x0 = round(max(width - crop_w, 0) * fraction)
        return CropTransform(x0, y0, crop_w, crop_h, width, height)

    def _padding(self, image: np.ndarray) -> Transform:
        height, width = image.shape[:2]
        crop_h, crop_w = self.crop_size
        return PadTransform(
            0,
            0,
            max(crop_w - width, 0),
            max(crop_h - height, 0),
            min(width, crop_w),
            min(height, crop_h),
            self.pad_value,
            self.seg_pad_value,
        )


class RandomCrop(Augmentation):
    """Crops a part of fixed or random size at a random place."""

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        """Stores the size.

        Args:
            crop_type: how ``crop_size`` is meant. ``"relative"``: fractions of the image;
                ``"relative_range"``: the smallest fractions, up to 1; ``"absolute"``: pixels;
                ``"absolute_range"``: the smallest and the largest number of pixels, for height
                and width alike. Never more than the image has.
            crop_size: two numbers: (height, width), or the range.
        """
        super().__init__()
        assert crop_type in _CROP_TYPES, f"crop_type={crop_type!r} is none of {_CROP_TYPES}"
        self.crop_type, self.crop_size = crop_type, crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        """The crop at a random place."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        assert height >= crop_h and width >= crop_w, (  # noqa: PT018  (one condition for users)
            f"{self} is larger than the image of {(height, width)} pixels"
        )
        y0 = np.random.randint(height - crop_h + 1)
        x0 = np.random.randint(width - crop_w + 1)
        return CropTransform(x0, y0, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """The (height, width) of a crop of an image of ``image_size``; random for the ranges."""
        height, width = image_size
        first, second = self.crop_size
        if self.crop_type == "absolute":
            return min(int(first), height), min(int(second), width)
        if self.crop_type == "absolute_range":
            low, high = int(first), int(second)
            assert low <= high, f"{self}: the range ends before it begins"
            crop_h = np.random.randint(min(height, low), min(height, high) + 1)
            crop_w = np.random.randint(min(width, low), min(width, high) + 1)
            return crop_h, crop_w
        if self.crop_type == "relative_range":
            smallest = np.asarray(self.crop_size, dtype=np.float32)
            first, second = smallest + np.random.rand(2) * (1 - smallest)
        return int(height * first + 0.5), int(width * second + 0.5)


class RandomCrop_CategoryAreaConstraint(Augmentation):  # noqa: N801  (Detectron2's name)
    """Crops like :class:`RandomCrop`, trying to leave no category too large a share."""

    _TRIALS = 10

    def __init__(
        self,
        crop_type: str,
        crop_size: Sequence[float],
        single_category_max_area: float = 1.0,
        ignored_category: int | None = None,
    ) -> None:
        """Stores the limit.

        Args:
            crop_type: see :class:`RandomCrop`.
            crop_size: see :class:`RandomCrop`.
            single_category_max_area: largest share of the crop's labelled pixels that one
                category may have; 1 is no limit. After ten crops the last one is taken.
            ignored_category: the label of pixels that do not count.
        """
        super().__init__()
        self.crop_aug = RandomCrop(crop_type, crop_size)
        self.crop_type, self.crop_size = crop_type, crop_size
        self.single_category_max_area = single_category_max_area
        self.ignored_category = ignored_category

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray | None) -> Transform:
        """The crop at a random place."""
        if self.single_category_max_area >= 1.0:
            return self.crop_aug.get_transform(image)
        if sem_seg is None:
            raise ValueError(
                f"{type(self).__name__} with single_category_max_area="
                f"{self.single_category_max_area} needs sem_seg, which this input has not"
            )
        height, width = sem_seg.shape
        for _ in range(self._TRIALS):
            crop_h, crop_w = self.crop_aug.get_crop_size((height, width))
            y0 = np.random.randint(height - crop_h + 1)
            x0 = np.random.randint(width - crop_w + 1)
            if self._is_mixed(sem_seg[y0 : y0 + crop_h, x0 : x0 + crop_w]):
                break
        return CropTransform(x0, y0, crop_w, crop_h)

    def _is_mixed(self, labels: np.ndarray) -> bool:
        """Whether there are several categories, none of them above the limit."""
        categories, counts = np.unique(labels, return_counts=True)
        if self.ignored_category is not None:
            counts = counts[categories != self.ignored_category]
        limit = counts.sum() * self.single_category_max_area
        return len(counts) > 1 and counts.max() < limit


class MinIoURandomCrop(Augmentation):
    """Crops so that the boxes keep a random least IoU with the crop (SSD, arXiv:1512.02325)."""

    def __init__(
        self,
        min_ious: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        min_crop_size: float = 0.3,
        mode_trials: int = 1000,
        crop_trials: int = 50,
    ) -> None:
        """Stores the limits.

        Args:
            min_ious: the IoUs to choose from, beside "any crop" and "no crop".
            min_crop_size: smallest height and width, relative to the image.
            mode_trials: how often an IoU is chosen before giving up.
            crop_trials: how many crops are tried per IoU.
        """
        super().__init__()
        self.min_ious, self.min_crop_size = min_ious, min_crop_size
        self.sample_mode = (1, *min_ious, 0)
        self.mode_trials, self.crop_trials = mode_trials, crop_trials

    def get_transform(self, image: np.ndarray, boxes: np.ndarray | None) -> Transform:
        """The crop; none if that was drawn, or if no try succeeded."""
        boxes = np.zeros((0, 4)) if boxes is None else boxes.reshape(-1, 4)
        for _ in range(self.mode_trials):
            min_iou = np.random.choice(self.sample_mode)
            if min_iou == 1:
                return NoOpTransform()
            for _ in range(self.crop_trials):
                crop = self._draw(*image.shape[:2])
                if crop is not None and _keeps_boxes(crop, boxes, min_iou):
                    x0, y0, width, height = crop
                    return CropTransform(int(x0), int(y0), int(width), int(height))
        return NoOpTransform()

    def _draw(self, height: int, width: int) -> tuple[float, float, float, float] | None:
        """A random x0, y0, width, height, or None where its aspect is beyond 1:2."""
        crop_w = np.random.uniform(self.min_crop_size * width, width)
        crop_h = np.random.uniform(self.min_crop_size * height, height)
        if not 0.5 <= crop_h / crop_w <= 2:
            return None
        # The range is [width - crop_w, 1): numpy takes one argument for the lower end. Kept,
        # because it decides which crops a seed gives; 1 is about the upper left corner.
        x0 = np.random.uniform(width - crop_w)
        y0 = np.random.uniform(height - crop_h)
        return x0, y0, crop_w, crop_h


def _keeps_boxes(
    crop: tuple[float, float, float, float], boxes: np.ndarray, min_iou: float
) -> bool:
    """Whether all boxes have the least IoU with the crop, and some centre lies inside."""
    x0, y0, width, height = crop
    patch = np.array((int(x0), int(y0), int(x0 + width), int(y0 + height)))
    if patch[2] == patch[0] or patch[3] == patch[1]:
        return False
    if len(boxes) == 0:
        return True
    inner = np.minimum(boxes[:, 2:], patch[2:]) - np.maximum(boxes[:, :2], patch[:2])
    intersection = inner.clip(min=0).prod(axis=1)
    union = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) + (patch[2:] - patch[:2]).prod()
    if (intersection / (union - intersection)).min() < min_iou:
        return False
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    return bool(((centres > patch[:2]) & (centres < patch[2:])).all(axis=1).any())
