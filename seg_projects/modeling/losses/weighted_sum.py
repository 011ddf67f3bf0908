"""The weighted sum of losses that a config chooses."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seg_projects.errors import UserError

from .boundary import boundary_loss, sigmoid_boundary_loss
from .cross_entropy import cross_entropy_loss, sigmoid_cross_entropy_loss
from .dice import dice_loss, sigmoid_dice_loss
from .focal import focal_loss, sigmoid_focal_loss
from .hard_pixels import hard_pixel_cross_entropy_loss, sigmoid_hard_pixel_cross_entropy_loss
from .labels import at_least_float32
from .lovasz import lovasz_hinge_loss, lovasz_softmax_loss

KEY = "MODEL.SEM_SEG_HEAD.LOSSES"
# Parameters of a loss that are no options.
GIVEN = ("logits", "target", "ignore_value", "pixel_weights")

# Each is called as loss(logits, target, ignore_value=..., **options). Of softmax: a pixel has one
# class.
SOFTMAX_LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": cross_entropy_loss,
    "hard_pixel_cross_entropy": hard_pixel_cross_entropy_loss,
    "focal": focal_loss,
    "dice": dice_loss,
    "lovasz_softmax": lovasz_softmax_loss,
    "boundary": boundary_loss,
}
# Of sigmoid: a pixel may have several classes or none.
SIGMOID_LOSSES: dict[str, Callable[..., Tensor]] = {
    "sigmoid_cross_entropy": sigmoid_cross_entropy_loss,
    "sigmoid_hard_pixel_cross_entropy": sigmoid_hard_pixel_cross_entropy_loss,
    "sigmoid_focal": sigmoid_focal_loss,
    "sigmoid_dice": sigmoid_dice_loss,
    "lovasz_hinge": lovasz_hinge_loss,
    "sigmoid_boundary": sigmoid_boundary_loss,
}
LOSSES = SOFTMAX_LOSSES | SIGMOID_LOSSES


class WeightedLoss(NamedTuple):
    """One entry of the sum."""

    name: str  # of LOSSES
    weight: float
    options: dict[str, Any]


def parse_losses(entries: Sequence[Any], *, num_classes: int) -> list[WeightedLoss]:
    """Checks ``MODEL.SEM_SEG_HEAD.LOSSES`` by trying each loss on one ignored pixel.

    Args:
        entries: each ``[name, weight]`` or ``[name, weight, {option: value}]``.
        num_classes: K of the logits that the losses will get.

    Raises:
        UserError: there is no entry, one is malformed or occurs twice, a name or an option is
            unknown, a weight is not positive, a value is refused by the loss.
    """
    losses = [_parse_entry(entry) for entry in entries]
    if not losses:
        raise UserError(f"{KEY} is empty: [[cross_entropy, 1.0]] is the usual one.")
    names = [loss.name for loss in losses]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{KEY} has {twice[0]!r} more than once: add up the weights.")
    for loss in losses:
        _try(loss, num_classes)
    return losses


def _parse_entry(entry: Any) -> WeightedLoss:
    if not isinstance(entry, list | tuple) or len(entry) not in (2, 3):
        raise UserError(f"{KEY} has {entry!r}: an entry is [name, weight] or [name, weight, {{}}].")
    name, weight, options = entry if len(entry) == 3 else (*entry, {})
    if name not in LOSSES:
        near = difflib.get_close_matches(str(name), LOSSES, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UserError(f"{KEY} has the unknown loss {name!r}; known: {', '.join(LOSSES)}.{hint}")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise UserError(f"{KEY}: the weight of {name} is {weight!r}; it has to be positive.")
    if not math.isfinite(weight):
        raise UserError(f"{KEY}: the weight of {name} is {weight}; it has to be finite.")
    known = [p for p in inspect.signature(LOSSES[name]).parameters if p not in GIVEN]
    if not isinstance(options, dict) or not set(options) <= set(known):
        raise UserError(f"{KEY}: {name} has the options {options!r}; it knows {known}.")
    return WeightedLoss(name, float(weight), options)


def _try(loss: WeightedLoss, num_classes: int) -> None:
    logits = torch.zeros(1, num_classes, 1, 1)
    target = torch.full((1, 1, 1), 255)
    try:
        LOSSES[loss.name](logits, target, ignore_value=255, **loss.options)
    except (ValueError, TypeError) as error:
        raise UserError(f"{KEY}: {loss.name} refuses {loss.options}: {error}") from error


def weighted_losses(
    losses: Sequence[WeightedLoss], logits: Tensor, target: Tensor, *, ignore_value: int
) -> dict[str, Tensor]:
    """The summands, each times its weight, by ``loss_sem_seg_<name>``; their sum is the loss.

    Args:
        losses: from :func:`parse_losses`.
        logits: (N, K, H, W) class scores.
        target: (N, H, W) int64 class ids in [0, K), or ``ignore_value``.
        ignore_value: the label of pixels without a loss.
    """
    # Once for all of them.
    logits = at_least_float32(logits)
    with torch.autocast(logits.device.type, enabled=False):
        return {
            f"loss_sem_seg_{loss.name}": loss.weight
            * LOSSES[loss.name](logits, target, ignore_value=ignore_value, **loss.options)
            for loss in losses
        }
