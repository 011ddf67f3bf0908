"""Cross entropy of the hardest pixels alone.

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from .hard_pixels import mean_of_hardest
from .labels import label_planes


def hard_pixel_cross_entropy_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, fraction: float = 0.2
) -> Tensor:
    """Mean cross entropy, in nats, of the hardest ``fraction`` of the pixels (arXiv:1902.05093).

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels that count with loss 0.
        fraction: in (0, 1], of all pixels of the batch.
    """
    loss = F.cross_entropy(logits, target, ignore_index=ignore_value, reduction="none")
    return mean_of_hardest(loss, fraction)


def sigmoid_hard_pixel_cross_entropy_loss(
    logits: Tensor, target: Tensor, *, ignore_value: int, fraction: float = 0.2
) -> Tensor:
    """Mean binary cross entropy, in nats, of the hardest ``fraction`` of pixels and classes.

    Args:
        logits: (N, K, H, W) scores of K independent questions, before sigmoid.
        target: as :func:`label_planes` takes it.
        ignore_value: the label of pixels that count with loss 0.
        fraction: in (0, 1], of all answers, pixels times classes.
    """
    labels, valid = label_planes(target, logits.shape[1], ignore_value=ignore_value)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * valid
    return mean_of_hardest(loss, fraction)
