"""The expanding path of the Xception-style U-Net: residual blocks up to the size of the image.

Legend: N images, K classes, C channels, H x W positions of a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from seg_projects.errors import UserError

from .base import SemanticHead, check_norm, classifier, crop_to


@SEM_SEG_HEADS_REGISTRY.register()
class XceptionUNetHead(SemanticHead):
    """Residual blocks, each of which doubles the size, from the coarsest map to the image's.

    With the coarsest map of ``build_xception_unet_backbone`` alone it is the network of Keras's
    example, which has no skips; each finer map in ``IN_FEATURES`` is added where the sizes meet.
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
            decoder_channels: C of each block, from coarse to fine; empty for those of the coarsest
                map, halved from block to block.
            norm: normalisation of the convolutions, as ``get_norm`` takes it; "" for none.
            common: as :class:`SemanticHead` takes it.

        Raises:
            UserError: the coarsest stride is no power of two, or there is another number of
                channels than of blocks.
        """
        super().__init__(input_shape, num_classes=num_classes, **common)
        coarsest, stride = self.channels[-1], input_shape[self.in_features[-1]].stride or 1
        channels = _block_channels(decoder_channels, coarsest, stride)
        self.blocks = nn.ModuleList(
            UpBlock(before, after, norm=norm) for before, after in pairwise((coarsest, *channels))
        )
        # The result of the block that ends at the stride of a map gets that map.
        self.skip_names = {input_shape[name].stride: name for name in self.in_features[:-1]}
        self.skips = nn.ModuleDict()
        for index, out in enumerate(channels, 1):
            if name := self.skip_names.get(stride >> index):
                self.skips[name] = nn.Conv2d(input_shape[name].channels or 0, out, kernel_size=1)
        self.predictor = classifier(channels[-1], num_classes, kernel_size=3)
        self.coarsest_stride = stride
        # Of the logits.
        self.stride = 1

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        own = {"decoder_channels": head.DECODER_CHANNELS, "norm": head.NORM}
        return super().from_config(cfg, input_shape) | own

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        x = features[self.in_features[-1]]
        stride = self.coarsest_stride
        for block in self.blocks:
            x = block(x)
            stride //= 2
            if name := self.skip_names.get(stride):
                x = crop_to(x, features[name]) + self.skips[name](features[name])
        return self.predictor(x)


def _block_channels(wanted: Sequence[int], coarsest: int, stride: int) -> list[int]:
    count = stride.bit_length() - 1
    if stride != 2**count or not count:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES: the coarsest map has stride {stride}; "
            "XceptionUNetHead doubles sizes and needs 2, 4, 8, 16, ..."
        )
    channels = list(wanted) or [max(1, coarsest >> index) for index in range(count)]
    if len(channels) != count:
        raise UserError(
            f"MODEL.SEM_SEG_HEAD.DECODER_CHANNELS has {len(channels)} values; from stride {stride} "
            f"to 1 there are {count} blocks."
        )
    return channels


class UpBlock(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one, then twice the size."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: str) -> None:
        super().__init__()
        check_norm(norm, out_channels)
        self.convs = nn.Sequential(
            nn.ReLU(),
            _conv3x3(in_channels, out_channels, norm),
            nn.ReLU(),
            _conv3x3(out_channels, out_channels, norm),
        )
        self.residual = nn.Conv2d(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, 2 H, 2 W)."""
        # Copying positions commutes with a sum and with 1x1 convolutions: it comes last.
        return F.interpolate(self.convs(x) + self.residual(x), scale_factor=2, mode="nearest")


def _conv3x3(in_channels: int, out_channels: int, norm: str) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, out_channels),
    )
