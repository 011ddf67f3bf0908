"""Anchors: reference boxes on a regular grid over each feature map (arXiv:1506.01497)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.registry import Registry

from ._lookup import find_registered

__all__ = [
    "ANCHOR_GENERATOR_REGISTRY",
    "BufferList",
    "DefaultAnchorGenerator",
    "build_anchor_generator",
]

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
ANCHOR_GENERATOR_REGISTRY.__doc__ = """
Modules that make anchors from feature maps; each is called as ``cls(cfg, input_shape)``.
"""


class BufferList(nn.Module):
    """A list of tensors that follow the module between devices, outside its state dict."""

    def __init__(self, buffers: Sequence[Tensor]) -> None:
        super().__init__()
        for index, buffer in enumerate(buffers):
            self.register_buffer(str(index), buffer, persistent=False)

    def __len__(self) -> int:
        return len(self._buffers)

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self._buffers.values())


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(nn.Module):
    """Anchors of every size and aspect ratio of a level, at each position of its feature map."""

    box_dim: int = 4

    @configurable
    def __init__(
        self,
        *,
        sizes: Sequence[Sequence[float]] | Sequence[float],
        aspect_ratios: Sequence[Sequence[float]] | Sequence[float],
        strides: Sequence[int],
        offset: float = 0.5,
    ) -> None:
        """Computes the anchors around the origin, one set per level.

        Args:
            sizes: square roots of the anchors' areas, in image pixels, for each level; a flat
                list, or a list of one list, holds for all levels.
            aspect_ratios: heights divided by widths, given like ``sizes``.
            strides: image pixels per feature pixel of each level.
            offset: the first centre's distance from the image's corner, in strides, in [0, 1).
        """
        super().__init__()
        assert 0.0 <= offset < 1.0, f"offset={offset} is outside [0, 1)"
        self.strides = strides
        self.num_features = len(strides)
        self.offset = offset
        self.cell_anchors = BufferList(
            [
                self.generate_cell_anchors(level_sizes, level_ratios).float()
                for level_sizes, level_ratios in zip(
                    _per_level(sizes, self.num_features, "sizes"),
                    _per_level(aspect_ratios, self.num_features, "aspect_ratios"),
                    strict=True,
                )
            ]
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.ANCHOR_GENERATOR``; the strides are those of ``input_shape``."""
        node = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "sizes": node.SIZES,
            "aspect_ratios": node.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": node.OFFSET,
        }

    @property
    def num_cell_anchors(self) -> list[int]:
        """How many anchors each level has at one position."""
        return [len(anchors) for anchors in self.cell_anchors]

    @property
    def num_anchors(self) -> list[int]:
        """The same as ``num_cell_anchors``."""
        return self.num_cell_anchors

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """(len(sizes) * len(aspect_ratios), 4) XYXY boxes in pixels, centred at the origin.

        The ratio varies fastest; all anchors of a size have the same area.
        """
        anchors = []
        for size in sizes:
            for ratio in aspect_ratios:
                width = math.sqrt(size**2.0 / ratio)
                height = ratio * width
                anchors.append([-width / 2.0, -height / 2.0, width / 2.0, height / 2.0])
        return torch.tensor(anchors).reshape(-1, 4)

    def forward(self, features: list[Tensor]) -> list[Boxes]:
        """One ``Boxes`` per feature map, of H * W * A anchors in image pixels.

        Anchors are ordered by row, then column, then as in the cell. They may leave the image.

        Args:
            features: maps of shape (N, C, H, W), one per level; only their sizes matter.
        """
        if len(features) != self.num_features:
            raise ValueError(
                f"{len(features)} feature maps for the anchors of {self.num_features} levels"
            )
        return [
            Boxes(_shifted_anchors(cell, feature.shape[-2:], stride, self.offset))
            for cell, feature, stride in zip(self.cell_anchors, features, self.strides, strict=True)
        ]


def build_anchor_generator(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The anchor generator that ``cfg.MODEL.ANCHOR_GENERATOR.NAME`` names."""
    name = cfg.MODEL.ANCHOR_GENERATOR.NAME
    generator = find_registered(ANCHOR_GENERATOR_REGISTRY, name, key="MODEL.ANCHOR_GENERATOR.NAME")
    return generator(cfg, input_shape)


def _per_level(
    values: Sequence[Sequence[float]] | Sequence[float], num_levels: int, name: str
) -> list[Sequence[float]]:
    """One list per level, where one list or a flat list stands for all levels."""
    assert len(values) > 0, f"{name} is empty"
    levels: list[Any] = list(values) if isinstance(values[0], Sequence) else [values]
    if len(levels) == 1:
        levels *= num_levels
    assert len(levels) == num_levels, (
        f"{name} has {len(levels)} entries for {num_levels} feature maps; give one, or one per map"
    )
    return levels


def _shifted_anchors(
    cell_anchors: Tensor, grid_hw: Sequence[int], stride: int, offset: float
) -> Tensor:
    """(H * W * A, 4) copies of the (A, 4) ``cell_anchors`` around each grid position."""
    ys, xs = (
        (torch.arange(length, dtype=torch.float32, device=cell_anchors.device) + offset) * stride
        for length in grid_hw
    )
    ys, xs = torch.broadcast_tensors(ys[:, None], xs[None, :])
    centers = torch.stack((xs, ys, xs, ys), dim=-1)  # (H, W, 4)
    return (centers[:, :, None] + cell_anchors).reshape(-1, 4)
