"""The semantic branch of Panoptic-DeepLab (arXiv:1911.10194)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec

from .deeplab import (
    DeepLabV3PlusHead,
    Norm,
    Output,
    decoder_convs,
    pixel_loss,
    predictor,
    upsample,
)


class PanopticDeepLabSemSegHead(DeepLabV3PlusHead):
    """DeepLabV3+ with convolutions of its own before the classifier, and weighted pixels."""

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        decoder_channels: list[int],
        norm: Norm,
        head_channels: int,
        loss_weight: float,
        loss_type: str,
        loss_top_k: float,
        ignore_value: int,
        num_classes: int,
        **kwargs: Any,
    ) -> None:
        """Builds the layers; see :class:`DeepLabV3PlusHead` for the arguments it shares.

        Args:
            input_shape: channels and stride of each feature map.
            decoder_channels: after each fusion, finest first, and of ASPP's result.
            norm: as ``get_norm`` takes it.
            head_channels: before the classifier.
            loss_weight: factor of the loss.
            loss_type: ``cross_entropy`` or ``hard_pixel_mining``.
            loss_top_k: fraction of the pixels that hard pixel mining takes, in (0, 1].
            ignore_value: label of pixels without a loss.
            num_classes: K.
            kwargs: further arguments of :class:`DeepLabV3PlusHead`.
        """
        super().__init__(
            input_shape,
            decoder_channels=decoder_channels,
            norm=norm,
            loss_weight=loss_weight,
            ignore_value=ignore_value,
            **kwargs,
        )
        channels = decoder_channels[0]
        separable = kwargs.get("use_depthwise_separable_conv", False)
        self.head = decoder_convs(channels, channels, head_channels, norm, separable=separable)
        self.predictor = predictor(head_channels, num_classes)
        self.loss = pixel_loss(loss_type, ignore_value, top_k=loss_top_k)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.SEM_SEG_HEAD`` and ``INPUT.CROP``."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return super().from_config(cfg, input_shape) | {
            "head_channels": head.HEAD_CHANNELS,
            "loss_top_k": head.LOSS_TOP_K,
        }

    def forward(
        self,
        features: dict[str, Tensor],
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Output:
        """As in the base class; ``weights`` (N, H, W) are those of the pixels."""
        logits = self.layers(features)
        if self.training:
            return None, self.losses(logits, targets, weights)
        return upsample(logits, self.common_stride), {}

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """(N, K, H / common_stride, W / common_stride) logits."""
        return self.predictor(self.head(self.decode(features)))

    def losses(
        self, predictions: Tensor, targets: Tensor | None, weights: Tensor | None = None
    ) -> dict[str, Tensor]:
        """``loss_sem_seg`` of logits at ``common_stride``, (N, H, W) labels and weights."""
        logits = upsample(predictions, self.common_stride)
        loss = self.loss(logits, targets, *([] if weights is None else [weights]))
        return {"loss_sem_seg": loss * self.loss_weight}
