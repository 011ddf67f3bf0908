"""The instance branch of Panoptic-DeepLab (arXiv:1911.10194): centres and offsets to them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from seg_projects.modeling.semantic_heads.deeplab import (
    DeepLabV3PlusHead,
    Norm,
    decoder_convs,
    decoder_settings,
    predictor,
    upsample,
)

INS_EMBED_BRANCHES_REGISTRY = Registry("INS_EMBED_BRANCHES")
INS_EMBED_BRANCHES_REGISTRY.__doc__ = """
Instance branches: built as ``branch(cfg, input_shape)`` with the shape of each feature map.
"""

# (centre map, offsets, losses, losses)
InstanceOutput = tuple[Tensor | None, Tensor | None, dict[str, Tensor], dict[str, Tensor]]


def build_ins_embed_branch(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The instance branch that ``MODEL.INS_EMBED_HEAD.NAME`` names."""
    return INS_EMBED_BRANCHES_REGISTRY.get(cfg.MODEL.INS_EMBED_HEAD.NAME)(cfg, input_shape)


@INS_EMBED_BRANCHES_REGISTRY.register()
class PanopticDeepLabInsEmbedHead(DeepLabV3PlusHead):
    """A map of centres and a map of offsets, in pixels, behind a decoder of their own."""

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        decoder_channels: list[int],
        norm: Norm,
        head_channels: int,
        center_loss_weight: float,
        offset_loss_weight: float,
        **kwargs: Any,
    ) -> None:
        """Builds the layers; see :class:`DeepLabV3PlusHead` for the arguments it shares.

        Args:
            input_shape: channels and stride of each feature map.
            decoder_channels: after each fusion, finest first, and of ASPP's result.
            norm: as ``get_norm`` takes it.
            head_channels: before the two predictors.
            center_loss_weight: factor of the squared error of the centre map.
            offset_loss_weight: factor of the absolute error of the offsets, in pixels.
            kwargs: further arguments of :class:`DeepLabV3PlusHead`.
        """
        super().__init__(input_shape, decoder_channels=decoder_channels, norm=norm, **kwargs)
        self.center_loss_weight = center_loss_weight
        self.offset_loss_weight = offset_loss_weight
        channels = decoder_channels[0]
        self.center_head = decoder_convs(channels, channels, head_channels, norm, separable=False)
        self.center_predictor = predictor(head_channels, 1)
        separable = kwargs.get("use_depthwise_separable_conv", False)
        self.offset_head = decoder_convs(
            channels, channels, head_channels, norm, separable=separable
        )
        self.offset_predictor = predictor(head_channels, 2)
        self.center_loss = nn.MSELoss(reduction="none")
        self.offset_loss = nn.L1Loss(reduction="none")

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.INS_EMBED_HEAD``, ``INPUT.CROP`` and the kind of convolution."""
        head = cfg.MODEL.INS_EMBED_HEAD
        return decoder_settings(cfg, "INS_EMBED_HEAD", input_shape) | {
            "head_channels": head.HEAD_CHANNELS,
            "center_loss_weight": head.CENTER_LOSS_WEIGHT,
            "offset_loss_weight": head.OFFSET_LOSS_WEIGHT,
        }

    def forward(  # type: ignore[override]  # another kind of branch on the same decoder
        self,
        features: dict[str, Tensor],
        center_targets: Tensor | None = None,
        center_weights: Tensor | None = None,
        offset_targets: Tensor | None = None,
        offset_weights: Tensor | None = None,
    ) -> InstanceOutput:
        """Training: (None, None, loss of centres, loss of offsets).

        Inference: ((N, 1, H, W) centre map, (N, 2, H, W) offsets (dy, dx) in pixels, {}, {}).
        Centre targets and all weights are (N, 1, H, W), offset targets (N, 2, H, W).
        """
        center, offset = self.layers(features)
        if self.training:
            return (
                None,
                None,
                self.center_losses(center, center_targets, center_weights),
                self.offset_losses(offset, offset_targets, offset_weights),
            )
        return self._upsample(center), self._upsample_offset(offset), {}, {}

    def layers(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Centre map (N, 1, h, w) and offsets (N, 2, h, w), in cells, at ``common_stride``."""
        x = self.decode(features)
        center = self.center_predictor(self.center_head(x))
        return center, self.offset_predictor(self.offset_head(x))

    def center_losses(
        self, predictions: Tensor, targets: Tensor | None, weights: Tensor | None
    ) -> dict[str, Tensor]:
        """``loss_center``: weighted mean squared error, 0 where no pixel has a weight."""
        loss = self.center_loss(self._upsample(predictions), targets)
        return {"loss_center": _weighted_mean(loss, weights) * self.center_loss_weight}

    def offset_losses(
        self, predictions: Tensor, targets: Tensor | None, weights: Tensor | None
    ) -> dict[str, Tensor]:
        """``loss_offset``: weighted mean absolute error in pixels, 0 where none has a weight."""
        loss = self.offset_loss(self._upsample_offset(predictions), targets)
        return {"loss_offset": _weighted_mean(loss, weights) * self.offset_loss_weight}

    def _upsample(self, x: Tensor) -> Tensor:
        return upsample(x, self.common_stride)

    def _upsample_offset(self, offset: Tensor) -> Tensor:
        # From cells to pixels.
        return upsample(offset, self.common_stride) * self.common_stride


def _weighted_mean(loss: Tensor, weights: Tensor | None) -> Tensor:
    """Sum of ``loss`` (N, C, H, W) times ``weights`` (N, 1, H, W), over the sum of the weights."""
    if weights is None:
        return loss.mean()
    total = weights.sum()
    # Without a branch on the value, which would wait for the device.
    return (loss * weights).sum() / total.where(total > 0, 1)
