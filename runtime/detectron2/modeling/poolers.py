"""Fixed-size features of boxes, pooled from the level of a feature pyramid that fits each box."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import ROIAlign
from detectron2.structures import Boxes

__all__ = ["ROIPooler"]


class ROIPooler(nn.Module):
    """Pools each box from one level of a feature pyramid, chosen by the box's size."""

    def __init__(
        self,
        output_size: int | tuple[int, int] | list[int],
        scales: list[float] | tuple[float, ...],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ) -> None:
        """Makes one pooling operator per level.

        Args:
            output_size: height and width of the result, or one number for both.
            scales: each level's size as a fraction of the image, such as 1 / 4; powers of 2,
                each half of the one before.
            sampling_ratio: sampling points per bin and axis; 0 adapts them to the box.
            pooler_type: ``ROIAlignV2`` (pixel centres at +0.5), ``ROIAlign``, or ``ROIPool``.
            canonical_box_size: the square root of the area, in pixels, of a box that belongs to
                ``canonical_level``.
            canonical_level: minus log2 of a scale, so 4 for stride 16.
        """
        super().__init__()
        height, width = (output_size, output_size) if isinstance(output_size, int) else output_size
        self.output_size = (height, width)
        self.min_level, self.max_level = _pyramid_levels(scales)
        assert canonical_box_size > 0, f"canonical_box_size={canonical_box_size} is not positive"
        self.canonical_box_size = canonical_box_size
        self.canonical_level = canonical_level
        self.level_poolers = nn.ModuleList(
            _build_pooler(pooler_type, self.output_size, scale, sampling_ratio) for scale in scales
        )

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """(R, C, *output_size) features of all R boxes, in the order of ``box_lists``.

        Args:
            x: one map of shape (N, C, H, W) per level, in the order of the scales.
            box_lists: the boxes of each of the N images, in image pixels.
        """
        assert isinstance(x, list), f"the feature maps must be a list, not {type(x).__name__}"
        assert isinstance(box_lists, list), f"the boxes must be a list, not {type(box_lists)}"
        assert len(x) == len(self.level_poolers), (
            f"{len(x)} feature maps for {len(self.level_poolers)} levels"
        )
        assert len(box_lists) == len(x[0]), (
            f"boxes of {len(box_lists)} images for a batch of {len(x[0])}"
        )
        rois = convert_boxes_to_pooler_format(box_lists)
        if len(self.level_poolers) == 1:
            return self.level_poolers[0](x[0], rois)

        levels = assign_boxes_to_levels(
            box_lists, self.min_level, self.max_level, self.canonical_box_size, self.canonical_level
        )
        # Boxes grouped by level: where the groups end is all that the host has to wait for. The
        # ends stay a tensor, so that a traced pooler does not keep those of its example.
        order = levels.argsort()
        level_ids = torch.arange(len(x), device=levels.device)
        ends = (levels[:, None] <= level_ids).sum(dim=0).cpu()
        starts = F.pad(ends[:-1], (1, 0))
        output = x[0].new_zeros((rois.shape[0], x[0].shape[1], *self.output_size))
        # A level without boxes is pooled too, so that every feature map has a gradient.
        for level, (feature, pooler) in enumerate(zip(x, self.level_poolers, strict=True)):
            rows = order[starts[level] : ends[level]]
            output.index_copy_(0, rows, pooler(feature, rois[rows]))
        return output


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """The pyramid level of each box by its size, eq. (1) of arXiv:1612.03144.

    Args:
        box_lists: boxes of each image, R in all, in pixels.
        min_level: the finest level.
        max_level: the coarsest level.
        canonical_box_size: the square root of the area of a box of ``canonical_level``.
        canonical_level: where boxes of ``canonical_box_size`` belong.

    Returns:
        (R,) int64 levels counted from ``min_level``, in [0, max_level - min_level].
    """
    sizes = torch.cat([boxes.area() for boxes in box_lists]).sqrt()
    # The small constant keeps the logarithm of a box without area finite.
    levels = torch.floor(canonical_level + torch.log2(sizes / canonical_box_size + 1e-8))
    return levels.clamp(min=min_level, max=max_level).to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """(R, 5) rows of the image's index in the batch, then XYXY in pixels: what ROIAlign takes."""
    return torch.cat(
        [F.pad(boxes.tensor, (1, 0), value=index) for index, boxes in enumerate(box_lists)]
    )


def _pyramid_levels(scales: list[float] | tuple[float, ...]) -> tuple[int, int]:
    """The levels (minus log2) of the first and of the last scale."""
    levels = [-math.log2(scale) for scale in scales]
    assert all(level.is_integer() for level in levels), f"scales {scales} are not powers of 2"
    first, last = int(levels[0]), int(levels[-1])
    assert [int(level) for level in levels] == list(range(first, last + 1)), (
        f"scales {scales} do not halve from level to level"
    )
    assert first >= 0, f"scales {scales} exceed 1"
    return first, last


def _build_pooler(
    pooler_type: str, output_size: tuple[int, int], scale: float, sampling_ratio: int
) -> nn.Module:
    if pooler_type in ("ROIAlign", "ROIAlignV2"):
        return ROIAlign(output_size, scale, sampling_ratio, aligned=pooler_type == "ROIAlignV2")
    if pooler_type == "ROIPool":
        from torchvision.ops import RoIPool  # importing torchvision takes long

        return RoIPool(output_size, spatial_scale=scale)
    raise ValueError(
        f"POOLER_TYPE={pooler_type!r} is unknown; it is ROIAlignV2, ROIAlign or ROIPool."
    )
