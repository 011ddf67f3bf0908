"""The decoders of SETR on the maps of a plain ViT (arXiv:2012.15840, section 3.3).

Legend: N images, K classes, C channels, h x w cells of a map, s pixels the side of a cell.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from seg_projects.errors import UserError

from .base import SemanticHead, classifier, conv_block

KEY = "MODEL.SEM_SEG_HEAD.IN_FEATURES"


class SETRHead(SemanticHead):
    """What the decoders share: maps of one stride, auxiliary heads that are naive decoders.

    ``AUXILIARY`` names the maps of the auxiliary losses. In the paper, on the 24 blocks of ViT-L,
    these are block9, block14 and block19 of the naive decoder, block23 as well of PUP, and MLA's
    own four: block5, block11, block17 and block23.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        in_features: Sequence[str],
        num_classes: int,
        conv_dims: int,
        norm: str,
        **common: Any,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: what the backbone gives.
            in_features: names of the maps.
            num_classes: K.
            conv_dims: channels of the decoder.
            norm: normalisation of its convolutions, as ``get_norm`` takes it; "" for none.
            common: as :class:`SemanticHead` takes it.

        Raises:
            UserError: the backbone does not give a map, or the maps do not suit the decoder.
        """
        ordered = [name for name in input_shape if name in in_features]
        # The maps have one stride: the deepest stands for all where strides are checked.
        checked = ordered[-1:] if len(ordered) == len(in_features) else in_features
        super().__init__(input_shape, in_features=checked, num_classes=num_classes, **common)
        self.in_features = ordered
        self.check(input_shape)
        channels = [input_shape[name].channels or 0 for name in ordered]
        self.decoder = self.build_decoder(channels, conv_dims, num_classes, norm=norm)
        self.stride //= self.enlargement
        self.auxiliary_classifier = partial(
            naive_decoder, conv_dims=conv_dims, num_classes=num_classes, norm=norm
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        own = {"conv_dims": head.CONVS_DIM, "norm": head.NORM}
        return super().from_config(cfg, input_shape) | own

    @property
    @abstractmethod
    def enlargement(self) -> int:
        """By how much the decoder's logits are finer than the maps."""

    @abstractmethod
    def build_decoder(
        self, channels: Sequence[int], conv_dims: int, num_classes: int, *, norm: str
    ) -> nn.Module:
        """The layers from maps of these ``channels`` to logits."""

    def check(self, input_shape: dict[str, ShapeSpec]) -> None:
        """Raises UserError where the maps do not suit the decoder."""
        if len(self.in_features) != 1:
            raise UserError(
                f"{KEY} is {self.in_features}; {type(self).__name__} takes one map, a ViT's last."
            )

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        return self.decoder(features[self.in_features[0]])


@SEM_SEG_HEADS_REGISTRY.register()
class SETRNaiveHead(SETRHead):
    """Two 1x1 convolutions, then bilinear upsampling from cells to pixels."""

    enlargement = 1

    def build_decoder(
        self, channels: Sequence[int], conv_dims: int, num_classes: int, *, norm: str
    ) -> nn.Module:
        return naive_decoder(channels[0], conv_dims, num_classes, norm=norm)


@SEM_SEG_HEADS_REGISTRY.register()
class SETRPUPHead(SETRHead):
    """Progressive upsampling: a 3x3 convolution and a doubling of the size, log2(s) times."""

    @property
    def enlargement(self) -> int:
        return 2**self._doublings

    def check(self, input_shape: dict[str, ShapeSpec]) -> None:
        super().check(input_shape)
        self._doublings = self.stride.bit_length() - 1
        if self.stride != 2**self._doublings:
            raise UserError(
                f"{KEY} has {self.in_features[0]!r} of stride {self.stride}; SETRPUPHead doubles "
                "sizes: take a ViT with patches of 8, 16 or 32 pixels."
            )

    def build_decoder(
        self, channels: Sequence[int], conv_dims: int, num_classes: int, *, norm: str
    ) -> nn.Module:
        layers: list[nn.Module] = [_norm(channels[0])]
        for before in (channels[0], *[conv_dims] * (self._doublings - 1)):
            layers.append(conv_block(before, conv_dims, norm=norm))
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        return nn.Sequential(*layers, classifier(conv_dims, num_classes))


@SEM_SEG_HEADS_REGISTRY.register()
class SETRMLAHead(SETRHead):
    """Multi-level aggregation of maps evenly spread over the ViT: see :class:`Aggregation`."""

    enlargement = 4

    def check(self, input_shape: dict[str, ShapeSpec]) -> None:
        strides = [input_shape[name].stride or 0 for name in self.in_features]
        if len(strides) < 2 or len(set(strides)) > 1 or strides[0] % 4:
            raise UserError(
                f"{KEY} is {self.in_features}, of the strides {strides}; SETRMLAHead takes two "
                "maps or more of one stride, a multiple of 4, such as those of a ViT."
            )

    def build_decoder(
        self, channels: Sequence[int], conv_dims: int, num_classes: int, *, norm: str
    ) -> nn.Module:
        return Aggregation(channels, conv_dims, num_classes, norm=norm)

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        return self.decoder([features[name] for name in self.in_features])


class Aggregation(nn.Module):
    """One stream of 1x1, 3x3, 3x3 convolutions per map, which hands its first result downwards.

    Each stream adds what the deeper one had after its first layer, smooths the sum by a further 3x3
    convolution and ends four times finer, with half of the channels; a classifier takes all.
    """

    def __init__(
        self, channels: Sequence[int], conv_dims: int, num_classes: int, *, norm: str
    ) -> None:
        """Takes the channels of each map, from the first block to the deepest."""
        super().__init__()
        half = conv_dims // 2
        self.norms = nn.ModuleList(_norm(c) for c in channels)
        self.reduce = nn.ModuleList(
            conv_block(c, conv_dims, norm=norm, kernel_size=1) for c in channels
        )
        self.smooth = nn.ModuleList(conv_block(conv_dims, conv_dims, norm=norm) for _ in channels)
        self.streams = nn.ModuleList(
            nn.Sequential(
                conv_block(conv_dims, conv_dims, norm=norm),
                conv_block(conv_dims, half, norm=norm),
                nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
            )
            for _ in channels
        )
        self.predictor = classifier(half * len(channels), num_classes)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """(N, C, h, w) maps, the deepest last, to (N, K, 4 h, 4 w) logits."""
        reduced = [
            reduce(norm(x)) for x, norm, reduce in zip(maps, self.norms, self.reduce, strict=True)
        ]
        for index in reversed(range(len(reduced) - 1)):
            reduced[index] = reduced[index] + reduced[index + 1]
        streams = [
            stream(smooth(x))
            for x, smooth, stream in zip(reduced, self.smooth, self.streams, strict=True)
        ]
        return self.predictor(torch.cat(streams, dim=1))


def naive_decoder(channels: int, conv_dims: int, num_classes: int, *, norm: str) -> nn.Sequential:
    """Two 1x1 convolutions: to ``conv_dims`` channels, normalised, with ReLU; to K logits."""
    return nn.Sequential(
        _norm(channels),
        conv_block(channels, conv_dims, norm=norm, kernel_size=1),
        classifier(conv_dims, num_classes),
    )


def _norm(channels: int) -> nn.Module:
    # A ViT normalises before its blocks: what leaves one is not normalised.
    layer = get_norm("LN", channels)
    assert layer is not None
    return layer
