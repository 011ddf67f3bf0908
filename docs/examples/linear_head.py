"""A semantic head of one's own: a linear probe on one feature map.

python tools/train_net.py --import docs.examples.linear_head \
    --config-file docs/examples/linear_head.yaml
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY


@SEM_SEG_HEADS_REGISTRY.register()
class LinearHead(nn.Module):
    """Classifies each pixel of the first of ``IN_FEATURES`` by a 1x1 convolution."""

    @configurable
    def __init__(self, spec: ShapeSpec, *, name: str, num_classes: int, ignore_value: int) -> None:
        super().__init__()
        self.name, self.stride, self.ignore_value = name, spec.stride, ignore_value
        self.predictor = nn.Conv2d(spec.channels, num_classes, kernel_size=1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        name = head.IN_FEATURES[0]
        return {
            "spec": input_shape[name],
            "name": name,
            "num_classes": head.NUM_CLASSES,
            "ignore_value": head.IGNORE_VALUE,
        }

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Training: (None, losses). Inference: ((N, K, H, W) logits at image size, {})."""
        logits = self.predictor(features[self.name])
        logits = F.interpolate(logits, scale_factor=self.stride, mode="bilinear")
        if not self.training:
            return logits, {}
        assert targets is not None, "training needs targets"
        return None, {
            "loss_sem_seg": F.cross_entropy(logits, targets, ignore_index=self.ignore_value)
        }
