"""What all semantic heads share: checked inputs, the losses of the config, logits at image size.

Legend: N images, K classes, C channels, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from seg_projects.errors import UserError
from seg_projects.modeling.losses import parse_losses, weighted_losses


class SemanticHead(nn.Module, ABC):
    """A head that classifies the feature maps of any backbone; subclasses give ``layers``."""

    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        in_features: Sequence[str],
        losses: Sequence[Any],
        num_classes: int,
        ignore_value: int,
        loss_weight: float,
    ) -> None:
        """Checks what the head stands on.

        Args:
            input_shape: what the backbone gives.
            in_features: names of the maps to use, in any order.
            losses: as :func:`parse_losses` takes them.
            num_classes: K.
            ignore_value: label of pixels without a loss.
            loss_weight: factor of all losses.

        Raises:
            UserError: the backbone does not give a map, two maps have the same stride, or a loss
                is wrong.
        """
        super().__init__()
        self.in_features = order_features(in_features, input_shape)
        self.ignore_value, self.loss_weight = ignore_value, loss_weight
        self.num_classes = num_classes
        self.losses = parse_losses(losses, num_classes=num_classes)
        shapes = [input_shape[name] for name in self.in_features]
        # Of the maps, the finest first.
        self.channels = [shape.channels or 0 for shape in shapes]
        strides = [shape.stride or 1 for shape in shapes]
        self.stride = strides[0]
        # Stride of each map but the finest, by that of the next finer one.
        self.ratios = [coarse // fine for fine, coarse in pairwise(strides)]

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        head = cfg.MODEL.SEM_SEG_HEAD
        return {
            "input_shape": input_shape,
            "in_features": head.IN_FEATURES,
            "losses": head.LOSSES,
            "num_classes": head.NUM_CLASSES,
            "ignore_value": head.IGNORE_VALUE,
            "loss_weight": head.LOSS_WEIGHT,
        }

    @abstractmethod
    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """Feature maps to (N, K, H / stride, W / stride) logits at the finest map's size."""

    def forward(
        self, features: dict[str, Tensor], targets: Tensor | None = None
    ) -> tuple[Tensor | None, dict[str, Tensor]]:
        """Training: (None, losses). Inference: ((N, K, H, W) logits at image size, {}).

        Where the strides do not divide the image, the logits in inference are up to a stride
        larger, with the image in their upper left corner.

        Args:
            features: the backbone's maps, (N, C, ceil(H / stride), ceil(W / stride)) each.
            targets: training only, (N, H, W) int64 labels in [0, K), or ``ignore_value``.
        """
        logits = upsample(self.layers(features), self.stride)
        if not self.training:
            return logits, {}
        assert targets is not None, "training needs targets"
        return None, self._losses(logits, targets)

    def _losses(self, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
        logits = crop_to(logits, targets)
        wanted = (self.num_classes, *targets.shape[-2:])
        if logits.shape[1:] != wanted:
            raise UserError(
                f"{type(self).__name__} gives logits of {tuple(logits.shape[1:])}, upsampled by "
                f"its stride {self.stride}, for labels of {wanted}: its layers() are to give "
                "NUM_CLASSES planes of the size of the finest of IN_FEATURES."
            )
        losses = weighted_losses(self.losses, logits, targets, ignore_value=self.ignore_value)
        return {name: loss * self.loss_weight for name, loss in losses.items()}


def upsample(x: Tensor, factor: int) -> Tensor:
    """(N, C, H, W) to ``factor`` times the size, bilinear."""
    if factor == 1:
        return x
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


def order_features(names: Sequence[str], input_shape: Mapping[str, ShapeSpec]) -> list[str]:
    """``names`` from the finest map to the coarsest.

    Raises:
        UserError: there is none, the backbone does not give one, two have the same stride.
    """
    key = "MODEL.SEM_SEG_HEAD.IN_FEATURES"
    given = listed_maps(input_shape)
    if not names:
        raise UserError(f"{key} is empty; the backbone gives {given}.")
    for name in names:
        if name not in input_shape:
            raise UserError(f"{key} has {name!r}; the backbone gives {given}.")
    ordered = sorted(names, key=lambda name: input_shape[name].stride or 0)
    for finer, coarser in pairwise(ordered):
        ratio, rest = divmod(input_shape[coarser].stride or 0, input_shape[finer].stride or 1)
        if rest or ratio < 2:
            raise UserError(
                f"{key} has {finer!r} of stride {input_shape[finer].stride} and {coarser!r} of "
                f"stride {input_shape[coarser].stride}; each has to be 2, 3, ... times the finer "
                "one: take one map of each stride."
            )
    return ordered


def listed_maps(input_shape: Mapping[str, ShapeSpec]) -> str:
    """The maps that a backbone gives with their strides, for messages."""
    return ", ".join(f"{name} (stride {shape.stride})" for name, shape in input_shape.items())


def crop_to(x: Tensor, reference: Tensor) -> Tensor:
    """The upper left part of ``x`` that has the height and width of ``reference``.

    Maps of an image that the strides do not divide are rounded up; what they cover beyond it lies
    at their right and lower edge.
    """
    return x[..., : reference.shape[-2], : reference.shape[-1]]


def check_norm(norm: str, channels: int) -> None:
    """Raises UserError where ``norm`` cannot normalise ``channels`` channels."""
    if norm == "GN" and channels % 32:
        raise UserError(
            f"NORM 'GN' makes 32 groups, which do not divide {channels} channels: take a "
            "multiple of 32, or NORM 'BN'."
        )


def classifier(in_channels: int, num_classes: int, *, kernel_size: int = 1) -> Conv2d:
    """A convolution to (N, K, H, W) logits, which are about 0 at first."""
    conv = Conv2d(in_channels, num_classes, kernel_size=kernel_size, padding=kernel_size // 2)
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.zeros_(conv.bias)
    return conv


def conv_block(
    in_channels: int, out_channels: int, *, norm: str, kernel_size: int = 3, stride: int = 1
) -> Conv2d:
    """A convolution that keeps the size, up to the stride, normalised, with ReLU.

    Raises:
        UserError: ``norm`` does not fit the channels.
    """
    check_norm(norm, out_channels)
    conv = Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
