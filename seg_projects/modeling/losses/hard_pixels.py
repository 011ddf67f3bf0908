"""Cross entropy of the hardest pixels alone.

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .labels import at_least_float32, label_planes, weights_per_class


def hard_pixel_cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    *,
    ignore_value: int,
    fraction: float = 0.2,
    class_weights: Tensor | Sequence[float] | None = None,
    pixel_weights: Tensor | None = None,
) -> Tensor:
    """Mean weighted cross entropy, in nats, of the hardest ``fraction`` of the pixels.

    Hard pixel mining as in arXiv:1902.05093, with pixel weights as in arXiv:1911.10194.

    Args:
        logits: (N, K, H, W) class scores, before softmax.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: of pixels that have no loss; they count in the mean, with 0.
        fraction: in (0, 1], of all pixels of the batch; 1 takes all.
        class_weights: K weights of the pixels, by their class.
        pixel_weights: (N, H, W).
    """
    logits = at_least_float32(logits)
    weights = weights_per_class(class_weights, logits)
    loss = F.cross_entropy(
        logits, target, weight=weights, ignore_index=ignore_value, reduction="none"
    )
    if pixel_weights is not None:
        loss = loss * pixel_weights
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
    logits = at_least_float32(logits)
    labels, valid = label_planes(target, logits, ignore_value=ignore_value)
    loss = F.binary_cross_entropy_with_logits(logits, labels, reduction="none") * valid
    return mean_of_hardest(loss, fraction)


def mean_of_hardest(loss: Tensor, fraction: float) -> Tensor:
    """Mean of the largest ``fraction``, in (0, 1], of the elements of ``loss``; 0 of none."""
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction={fraction} is outside (0, 1]; 0.2 keeps the hardest fifth.")
    if loss.numel() == 0:
        return loss.sum()
    if fraction == 1:
        return loss.mean()
    # Ignored pixels count, with loss 0, as in DeepLab: k follows from the shape alone, and nothing
    # waits for the device.
    return loss.flatten().topk(max(1, int(fraction * loss.numel()))).values.mean()


class DeepLabCE(nn.Module):
    """:func:`hard_pixel_cross_entropy_loss` under the name and the arguments of Detectron2."""

    def __init__(
        self,
        ignore_label: int = -1,
        top_k_percent_pixels: float = 1.0,
        weight: Tensor | None = None,
    ) -> None:
        """``top_k_percent_pixels`` is a fraction in (0, 1], ``weight`` (K,) class weights."""
        super().__init__()
        self.ignore_label = ignore_label
        self.top_k_percent_pixels = top_k_percent_pixels
        # Detectron2's checkpoints name the weights so; without weights there is no entry.
        self.criterion = nn.CrossEntropyLoss(
            weight=weight, ignore_index=ignore_label, reduction="none"
        )

    def forward(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """A scalar from (N, K, H, W) logits, (N, H, W) labels and maybe (N, H, W) weights."""
        return hard_pixel_cross_entropy_loss(
            logits,
            labels,
            ignore_value=self.ignore_label,
            fraction=self.top_k_percent_pixels,
            class_weights=self.criterion.weight,
            pixel_weights=weights,
        )
