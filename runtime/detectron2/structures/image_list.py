"""Images of several sizes in one padded tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class ImageList:
    """N images in a tensor (N, ..., H, W); image i fills the top-left corner, the rest is padding.

    Attributes:
        tensor: the padded batch, (N, H, W) or (N, C, H, W).
        image_sizes: the (height, width) of each image before padding.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]) -> None:
        """Wraps a batch that is padded already."""
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        """N."""
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """Image ``idx`` without its padding: a view (..., height, width)."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        """The batch after ``Tensor.to`` of these arguments."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> torch.device:
        """Where the batch lives."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: list[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> ImageList:
        """Copies images into one batch, padded at the right and the bottom.

        Args:
            tensors: (H_i, W_i) or (C, H_i, W_i) images that agree in all but the last two axes.
            size_divisibility: height and width become multiples of it, if it is above 1.
            pad_value: the value of the padding.
            padding_constraints: may hold ``size_divisibility``, which then counts instead of the
                argument, and ``square_size``, the least side of a square batch if above 0.
        """
        _check_images(tensors)
        constraints = padding_constraints or {}
        sizes = [(image.shape[-2], image.shape[-1]) for image in tensors]
        height, width = _padded_size(
            sizes,
            constraints.get("size_divisibility", size_divisibility),
            constraints.get("square_size", 0),
        )
        first = tensors[0]
        if all(size == (height, width) for size in sizes):
            return ImageList(torch.stack([image.to(first) for image in tensors]), sizes)
        batch = first.new_full((len(tensors), *first.shape[:-2], height, width), pad_value)
        for index, image in enumerate(tensors):
            batch[index, ..., : image.shape[-2], : image.shape[-1]].copy_(image)
        return ImageList(batch, sizes)


def _check_images(tensors: list[Tensor]) -> None:
    assert isinstance(tensors, (list, tuple)), (
        f"ImageList.from_tensors wants a list of tensors, not a {type(tensors).__name__}."
    )
    assert tensors, "ImageList.from_tensors wants at least one image."
    for image in tensors:
        assert isinstance(image, Tensor), f"an image is a {type(image).__name__}, not a tensor."
        assert image.shape[:-2] == tensors[0].shape[:-2], (
            f"images differ in more than height and width: {[tuple(t.shape) for t in tensors]}"
        )


def _padded_size(
    sizes: list[tuple[int, int]], size_divisibility: int, square_size: int
) -> tuple[int, int]:
    """Height and width of the batch that holds images of ``sizes``."""
    height = max(size[0] for size in sizes)
    width = max(size[1] for size in sizes)
    if square_size > 0:
        if max(height, width) > square_size:
            raise ValueError(
                f"square_size={square_size} is too small for images of {height} x {width}."
            )
        height = width = square_size
    if size_divisibility > 1:
        height = -(-height // size_divisibility) * size_divisibility
        width = -(-width // size_divisibility) * size_divisibility
    return height, width
