"""The expanding path of U-Net (arXiv:1505.04597), plain and with attention gates.

Legend: N images, C channels, H x W positions of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from seg_projects.errors import UserError

from .base import SemanticHead, check_norm, classifier, conv_block, crop_to


@SEM_SEG_HEADS_REGISTRY.register()
class UNetHead(SemanticHead):
    """Up-convolution, skip and two 3x3 convolutions per map, from the coarsest to the finest.

    It stands on any backbone with several maps; on ``build_unet_backbone`` it is the complete
    U-Net, with padded convolutions, so that the result has the size of the image.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        decoder_channels: Sequence[int],
        norm: str,
        **common: Any,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: what the backbone gives.
            num_classes: K.
            decoder_channels: C after each step, from the first step (coarse) to the last (fine);
                empty for those of the skips, as in the paper.
            norm: normalisation of the convolutions, as ``get_norm`` takes it; "" for none.
            common: as :class:`SemanticHead` takes it.

        Raises:
            UserError: there is one map alone, or another number of channels than of steps.
        """
        super().__init__(input_shape, num_classes=num_classes, **common)
        coarsest, *skips = reversed(self.channels)
        wanted = list(decoder_channels) or skips
        _check_steps(type(self).__name__, self.in_features, wanted)
        before = [coarsest, *wanted[:-1]]
        self.steps = nn.ModuleList(
            self.build_step(below, skip, out, ratio=ratio, norm=norm)
            for below, skip, out, ratio in zip(
                before, skips, wanted, reversed(self.ratios), strict=True
            )
        )
        self.predictor = classifier(wanted[-1], num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        own = {"decoder_channels": head.DECODER_CHANNELS, "norm": head.NORM}
        return super().from_config(cfg, input_shape) | own

    def build_step(self, below: int, skip: int, out: int, *, ratio: int, norm: str) -> nn.Module:
        """One step up: from ``below`` channels, beside ``skip``, to ``out`` channels."""
        return UpStep(below, skip, out, ratio=ratio, norm=norm)

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        *finer, coarsest = self.in_features
        x = features[coarsest]
        for name, step in zip(reversed(finer), self.steps, strict=True):
            x = step(x, features[name])
        return self.predictor(x)


def _check_steps(head: str, in_features: Sequence[str], channels: Sequence[int]) -> None:
    if len(in_features) < 2:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES is {list(in_features)}; {head} needs two maps or more."
        )
    if len(channels) != len(in_features) - 1:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.DECODER_CHANNELS has {len(channels)} values; {len(in_features)} "
            f"maps in IN_FEATURES make {len(in_features) - 1} steps."
        )


class UpStep(nn.Module):
    """Brings a coarse map to the size of a skip and merges both."""

    def __init__(self, below: int, skip: int, out: int, *, ratio: int, norm: str) -> None:
        """Takes channels (coarse map, skip, result) and the ratio of the maps' strides."""
        super().__init__()
        self.up = nn.ConvTranspose2d(below, out, kernel_size=ratio, stride=ratio)
        self.convs = nn.Sequential(
            conv_block(out + skip, out, norm=norm), conv_block(out, out, norm=norm)
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(N, below, ceil(H / ratio), ceil(W / ratio)) and (N, skip, H, W) to (N, out, H, W)."""
        return self.convs(torch.cat((skip, crop_to(self.up(x), skip)), dim=1))


@SEM_SEG_HEADS_REGISTRY.register()
class AttentionUNetHead(UNetHead):
    """U-Net whose skips pass attention gates (arXiv:1804.03999)."""

    def build_step(self, below: int, skip: int, out: int, *, ratio: int, norm: str) -> nn.Module:
        return AttentionUpStep(below, skip, out, ratio=ratio, norm=norm)


class AttentionUpStep(UpStep):
    """An :class:`UpStep` that lets through of the skip what the coarse map asks for."""

    def __init__(self, below: int, skip: int, out: int, *, ratio: int, norm: str) -> None:
        super().__init__(below, skip, out, ratio=ratio, norm=norm)
        self.gate = AttentionGate(skip, below, ratio=ratio, norm=norm)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return super().forward(x, self.gate(skip, x))


class AttentionGate(nn.Module):
    """Additive attention on a grid (equations 1 and 2, figure 2 of arXiv:1804.03999)."""

    def __init__(self, skip: int, below: int, *, ratio: int, norm: str) -> None:
        """Takes the channels of the skip and of the coarse map, and their strides' ratio."""
        super().__init__()
        check_norm(norm, skip)
        inner = max(1, skip // 2)
        self.ratio = ratio
        self.skip = nn.Conv2d(skip, inner, kernel_size=ratio, stride=ratio, bias=False)
        self.query = nn.Conv2d(below, inner, kernel_size=1)
        self.score = nn.Conv2d(inner, 1, kernel_size=1)
        self.out = Conv2d(skip, skip, kernel_size=1, bias=not norm, norm=get_norm(norm, skip))

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        """(N, skip, H, W) and (N, below, ceil(H / ratio), ...) to the gated (N, skip, H, W)."""
        return self.out(skip * self.coefficients(skip, below))

    def coefficients(self, skip: Tensor, below: Tensor) -> Tensor:
        """What share of each position passes, (N, 1, H, W) in [0, 1]."""
        # Whole cells, so that the grid is that of the coarse map.
        padding = [below.shape[-1 - i] * self.ratio - skip.shape[-1 - i] for i in (0, 1)]
        cells = self.skip(F.pad(skip, (0, padding[0], 0, padding[1])))
        scores = self.score(F.relu(cells + self.query(below)))
        shares = F.interpolate(
            scores.sigmoid(), scale_factor=self.ratio, mode="bilinear", align_corners=False
        )
        return crop_to(shares, skip)
