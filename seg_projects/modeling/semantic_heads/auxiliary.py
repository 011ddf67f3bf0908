"""Deep supervision: feature maps that are also classified by themselves, in training alone.

Legend: N images, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn

from detectron2.layers import Conv2d, ShapeSpec
from seg_projects.errors import UserError
from seg_projects.modeling.losses import parse_losses, weighted_losses

from .base import crop_to, listed_maps, upsample

KEY = "MODEL.SEM_SEG_HEAD.AUXILIARY"


class AuxiliaryClassifiers(nn.Module):
    """A classifier on each of some feature maps, and its losses."""

    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        entries: Sequence[Any],
        *,
        losses: Sequence[Any],
        num_classes: int,
        ignore_value: int,
        loss_weight: float,
        build: Callable[[int], nn.Module] | None = None,
    ) -> None:
        """Builds the classifiers; of no entries there are none.

        Args:
            input_shape: what the backbone gives.
            entries: [name of a map, weight] each.
            losses: as :func:`parse_losses` takes them.
            num_classes: K.
            ignore_value: label of pixels without a loss.
            loss_weight: factor of all losses.
            build: makes a classifier of a map of so many channels; None for a 1x1 convolution.

        Raises:
            UserError: the backbone does not give a map, or an entry is malformed.
        """
        super().__init__()
        self.weights = {n: w * loss_weight for n, w in parse_auxiliary(entries, input_shape)}
        self.strides = {name: input_shape[name].stride or 1 for name in self.weights}
        self.losses = parse_losses(losses, num_classes=num_classes) if entries else []
        self.ignore_value = ignore_value
        build = build or partial(Conv2d, out_channels=num_classes, kernel_size=1)
        self.classifiers = nn.ModuleDict(
            {name: build(input_shape[name].channels or 0) for name in self.weights}
        )

    def forward(self, features: Mapping[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """The weighted losses, by ``loss_sem_seg_<loss>_<map>``.

        Args:
            features: the backbone's maps, (N, C, ceil(H / stride), ceil(W / stride)) each.
            targets: (N, H, W) int64 labels in [0, K), or ``ignore_value``.
        """
        found = {}
        for name, classifier in self.classifiers.items():
            logits = crop_to(upsample(classifier(features[name]), self.strides[name]), targets)
            losses = weighted_losses(self.losses, logits, targets, ignore_value=self.ignore_value)
            for key, loss in losses.items():
                found[f"{key}_{name}"] = loss * self.weights[name]
        return found


def parse_auxiliary(
    entries: Sequence[Any], input_shape: Mapping[str, ShapeSpec]
) -> list[tuple[str, float]]:
    """The maps of ``MODEL.SEM_SEG_HEAD.AUXILIARY`` and their weights.

    Raises:
        UserError: the backbone does not give a map, one occurs twice, or an entry is malformed.
    """
    found: dict[str, float] = {}
    for entry in entries:
        if not isinstance(entry, list | tuple) or len(entry) != 2:
            raise UserError(f"{KEY} has {entry!r}: an entry is [name of a map, weight].")
        name, weight = entry
        if name not in input_shape:
            raise UserError(f"{KEY} has {name!r}; the backbone gives {listed_maps(input_shape)}.")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise UserError(f"{KEY}: the weight of {name} is {weight!r}; it has to be positive.")
        if name in found:
            raise UserError(f"{KEY} has {name!r} more than once: add up the weights.")
        found[name] = float(weight)
    return list(found.items())
