"""Semantic segmentation: one class per pixel.

Legend: N images, K classes, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn import weight_init
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry

from .._lookup import find_registered
from ..backbone.backbone import Backbone
from ..backbone.build import build_backbone
from ..postprocessing import sem_seg_postprocess
from ._batch import label_batch, normalized_batch, output_size, register_pixel_statistics
from .build import META_ARCH_REGISTRY

__all__ = [
    "SEM_SEG_HEADS_REGISTRY",
    "SemSegFPNHead",
    "SemanticSegmentor",
    "build_sem_seg_head",
]

SEM_SEG_HEADS_REGISTRY = Registry("SEM_SEG_HEADS")
SEM_SEG_HEADS_REGISTRY.__doc__ = """
Semantic heads: built as ``head(cfg, input_shape)`` with the shape of each feature map and called as
``head(features, targets)``, they give ``(scores, losses)``.
"""


@META_ARCH_REGISTRY.register()
class SemanticSegmentor(nn.Module):
    """A backbone and a semantic head."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        sem_seg_head: nn.Module,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
    ) -> None:
        """Stores the parts; ``pixel_mean`` and ``pixel_std`` have one value per image channel."""
        super().__init__()
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        register_pixel_statistics(self, pixel_mean, pixel_std)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Reads ``MODEL``."""
        backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "sem_seg_head": build_sem_seg_head(cfg, backbone.output_shape()),
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Training: losses by name. Inference: per image ``sem_seg``.

        Args:
            batched_inputs: Per image ``image``, a (C, H, W) tensor; in training ``sem_seg``, an
                (H, W) integer label map; in inference maybe the wanted ``height`` and ``width``.

        Returns:
            In inference, per image ``{"sem_seg": (K, height, width) class scores}``.
        """
        batch = normalized_batch(batched_inputs, self.pixel_mean, self.pixel_std, self.backbone)
        features = self.backbone(batch.tensor)
        ignore_value = self.sem_seg_head.ignore_value
        targets = label_batch(batched_inputs, self.device, self.backbone, ignore_value)
        scores, losses = self.sem_seg_head(features, targets)
        if self.training:
            return losses
        return [
            {"sem_seg": sem_seg_postprocess(score, size, *output_size(inputs, size))}
            for score, inputs, size in zip(scores, batched_inputs, batch.image_sizes, strict=True)
        ]


def build_sem_seg_head(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The semantic head that ``MODEL.SEM_SEG_HEAD.NAME`` names."""
    key = "MODEL.SEM_SEG_HEAD.NAME"
    head = find_registered(SEM_SEG_HEADS_REGISTRY, cfg.MODEL.SEM_SEG_HEAD.NAME, key=key)
    return head(cfg, input_shape)


@SEM_SEG_HEADS_REGISTRY.register()
class SemSegFPNHead(nn.Module):
    """The semantic branch of Panoptic FPN (arXiv:1901.02446, figure 3).

    Each feature map is brought to a common stride by 3x3 convolutions and bilinear 2x upsampling;
    the maps are added and classified by a 1x1 convolution.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        conv_dims: int,
        common_stride: int,
        loss_weight: float = 1.0,
        norm: str | Callable[[int], nn.Module] | None = None,
        ignore_value: int = -1,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: Channels and stride of each feature map.
            num_classes: K.
            conv_dims: Channels inside the head.
            common_stride: Stride of the map that is classified.
            loss_weight: Factor of the loss.
            norm: Normalisation of the convolutions, as ``get_norm`` takes it.
            ignore_value: Label of pixels without a loss.
        """
        super().__init__()
        if not input_shape:
            raise ValueError(
                "SemSegFPNHead got no feature map; see MODEL.SEM_SEG_HEAD.IN_FEATURES."
            )
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        self.in_features = [name for name, _ in by_stride]
        self.ignore_value = ignore_value
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.scale_heads = []
        for name, spec in by_stride:
            head = _to_common_stride(spec, common_stride, conv_dims, norm)
            self.scale_heads.append(head)
            self.add_module(name, head)
        self.predictor = Conv2d(conv_dims, num_classes, kernel_size=1)
        weight_init.c2_msra_fill(self.predictor)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.SEM_SEG_HEAD``."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": {k: v for k, v in input_shape.items() if k in head.IN_FEATURES},
            "ignore_value": head.IGNORE_VALUE,
            "num_classes": head.NUM_CLASSES,
            "conv_dims": head.CONVS_DIM,
            "common_stride": head.COMMON_STRIDE,
            "norm": head.NORM,
            "loss_weight": head.LOSS_WEIGHT,
        }

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Training: (None, losses). Inference: ((N, K, H, W) scores at image size, {}).

        Args:
            features: Feature maps by name, (N, C, H / stride, W / stride) each.
            targets: Training only: (N, H, W) int64 labels in [0, K), or ``ignore_value``.
        """
        scores = self.layers(features)
        if self.training:
            return None, self.losses(scores, targets)
        return self._upsample(scores), {}

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Feature maps to (N, K, H / common_stride, W / common_stride) scores."""
        x = self._modules[self.in_features[0]](features[self.in_features[0]])
        for name in self.in_features[1:]:
            x = x + self._modules[name](features[name])
        return self.predictor(x)

    def losses(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Weighted mean cross entropy, in nats, of the labelled pixels; NaN where there is none.

        Args:
            predictions: Scores as ``layers`` gives them.
            targets: (N, H, W) int64 labels.
        """
        # float32: half precision is too coarse for a mean over all pixels.
        scores = self._upsample(predictions.float())
        loss = F.cross_entropy(scores, targets, reduction="mean", ignore_index=self.ignore_value)
        return {"loss_sem_seg": loss * self.loss_weight}

    def _upsample(self, scores: Tensor) -> Tensor:
        return F.interpolate(
            scores, scale_factor=self.common_stride, mode="bilinear", align_corners=False
        )


def _to_common_stride(
    spec: ShapeSpec,
    common_stride: int,
    conv_dims: int,
    norm: str | Callable[[int], nn.Module] | None,
) -> nn.Sequential:
    """Convolutions that bring a map to ``common_stride``: one per doubling, at least one."""
    assert spec.channels is not None
    assert spec.stride is not None
    layers: list[nn.Module] = []
    channels = spec.channels
    for _ in range(max(1, int(math.log2(spec.stride / common_stride)))):
        conv = Conv2d(
            channels,
            conv_dims,
            kernel_size=3,
            padding=1,
            bias=not norm,
            norm=get_norm(norm, conv_dims),
            activation=F.relu,
        )
        weight_init.c2_msra_fill(conv)
        layers.append(conv)
        if spec.stride != common_stride:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False))
        channels = conv_dims
    return nn.Sequential(*layers)
