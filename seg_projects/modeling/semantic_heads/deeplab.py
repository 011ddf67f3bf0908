"""DeepLabV3 (arXiv:1706.05587) and DeepLabV3+ (arXiv:1802.02611).

Legend: N images, K classes, C channels. Parameter names are those of Detectron2's DeepLab.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from fvcore.nn.weight_init import c2_xavier_fill
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ASPP, Conv2d, DepthwiseSeparableConv2d, ShapeSpec, get_norm
from seg_projects.errors import UserError
from seg_projects.modeling.losses.hard_pixels import DeepLabCE

from .base import listed_maps, upsample

Norm = str | Callable[[int], nn.Module]
Output = tuple[Tensor | None, dict[str, Tensor]]


def conv_block(in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> Conv2d:
    """A convolution at stride 1, ``norm`` and ReLU."""
    conv = _unfilled_block(in_channels, out_channels, kernel_size, norm)
    c2_xavier_fill(conv)
    return conv


def _unfilled_block(in_channels: int, out_channels: int, kernel_size: int, norm: Norm) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )


def decoder_convs(
    in_channels: int, middle: int, out_channels: int, norm: Norm, *, separable: bool
) -> nn.Module:
    """Two 3x3 convolutions, each with ``norm`` and ReLU.

    Separable: a depthwise separable 5x5 convolution, which has the same field at a fraction of the
    work, and no ``middle``.
    """
    if not separable:
        first = _unfilled_block(in_channels, middle, 3, norm)
        second = _unfilled_block(middle, out_channels, 3, norm)
        # After both are made, as in Detectron2's DeepLab: a seed gives the same weights there.
        for conv in (first, second):
            c2_xavier_fill(conv)
        return nn.Sequential(first, second)
    return DepthwiseSeparableConv2d(
        in_channels,
        out_channels,
        kernel_size=5,
        padding=2,
        norm1=norm,
        activation1=F.relu,
        norm2=norm,
        activation2=F.relu,
    )


def predictor(in_channels: int, out_channels: int) -> Conv2d:
    """A 1x1 convolution that gives about 0 at first."""
    conv = Conv2d(in_channels, out_channels, kernel_size=1)
    nn.init.normal_(conv.weight, 0, 0.001)
    nn.init.constant_(conv.bias, 0)
    return conv


def pixel_loss(loss_type: str, ignore_value: int, top_k: float) -> nn.Module:
    """``MODEL.SEM_SEG_HEAD.LOSS_TYPE``: a module called with logits and labels."""
    if loss_type == "cross_entropy":
        return nn.CrossEntropyLoss(reduction="mean", ignore_index=ignore_value)
    if loss_type == "hard_pixel_mining":
        return DeepLabCE(ignore_label=ignore_value, top_k_percent_pixels=top_k)
    raise UserError(
        f"MODEL.SEM_SEG_HEAD.LOSS_TYPE is {loss_type!r}; known: cross_entropy, hard_pixel_mining."
    )


def absolute_crop_size(cfg: CfgNode) -> tuple[int, int] | None:
    """(height, width) of all training images where they are cropped, else None."""
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return None
    if crop.TYPE != "absolute":
        raise UserError(f"INPUT.CROP.TYPE is {crop.TYPE!r}; DeepLab's pooling takes 'absolute'.")
    return tuple(crop.SIZE)


def pooling_window(train_size: Sequence[int] | None, stride: int) -> tuple[int, int] | None:
    """The window of ASPP's pooling, in cells: a training image, or the whole map for None."""
    if train_size is None:
        return None
    height, width = train_size
    if height % stride or width % stride:
        raise UserError(f"INPUT.CROP.SIZE {height}x{width} is no multiple of the stride {stride}.")
    return height // stride, width // stride


class WindowPooling(nn.Module):
    """Means over windows of a training image's size, at every place where the window fits.

    In training that is one mean. A map that is smaller than the window, in height or width, is the
    window, there.
    """

    def __init__(self, window: tuple[int, int]) -> None:
        """``window`` is (height, width), in cells."""
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H - height + 1, W - width + 1)."""
        height, width = self.window
        return F.avg_pool2d(x, (min(height, x.shape[-2]), min(width, x.shape[-1])), stride=1)


def aspp_on(
    spec: ShapeSpec,
    channels: int,
    dilations: Sequence[int],
    *,
    norm: Norm,
    train_size: Sequence[int] | None,
    dropout: float,
    separable: bool,
) -> ASPP:
    """ASPP with ReLU on a map of the shape ``spec``; see :class:`DeepLabV3PlusHead`.

    Detectron2's takes maps alone that whole windows tile, and refuses others at the first image
    of the test; this one takes any, and gives the same where both do.
    """
    assert spec.channels is not None, "the map's channels must be known"
    assert spec.stride is not None, "the map's stride must be known"
    aspp = ASPP(
        spec.channels,
        channels,
        dilations,
        norm=norm,
        activation=F.relu,
        dropout=dropout,
        use_depthwise_separable_conv=separable,
    )
    window = pooling_window(train_size, spec.stride)
    if window is not None:
        pooled = aspp.convs[-1]
        assert isinstance(pooled, nn.Sequential), "pooling and a convolution"
        pooled[0] = WindowPooling(window)
    return aspp


def shapes_of(
    input_shape: dict[str, ShapeSpec], names: Sequence[str], key: str
) -> dict[str, ShapeSpec]:
    """Those of ``names``, by rising stride; raises UserError where the backbone lacks one."""
    if missing := [name for name in names if name not in input_shape]:
        raise UserError(f"{key} has {missing[0]!r}; the backbone gives {listed_maps(input_shape)}.")
    chosen = {name: input_shape[name] for name in names}
    return dict(sorted(chosen.items(), key=lambda item: item[1].stride or 0))


def decoder_settings(cfg: CfgNode, group: str, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
    """The arguments of :class:`DeepLabV3PlusHead`'s layers up to the decoder's result.

    Args:
        cfg: whose ``MODEL[group]`` and ``INPUT.CROP`` are read; the kind of convolution is the same
            in all decoders of a model, ``MODEL.SEM_SEG_HEAD``'s.
        group: ``SEM_SEG_HEAD`` or ``INS_EMBED_HEAD``.
        input_shape: channels and stride of each map of the backbone.
    """
    head = cfg.MODEL[group]
    return {
        "input_shape": shapes_of(input_shape, head.IN_FEATURES, f"MODEL.{group}.IN_FEATURES"),
        "project_channels": head.PROJECT_CHANNELS,
        "aspp_dilations": head.ASPP_DILATIONS,
        "aspp_dropout": head.ASPP_DROPOUT,
        "decoder_channels": [head.CONVS_DIM] * (len(head.IN_FEATURES) - 1) + [head.ASPP_CHANNELS],
        "common_stride": head.COMMON_STRIDE,
        "norm": head.NORM,
        "train_size": absolute_crop_size(cfg),
        "use_depthwise_separable_conv": cfg.MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV,
    }


class DeepLabV3PlusHead(nn.Module):
    """ASPP on the coarsest map, then a decoder that adds finer maps, then a classifier."""

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        project_channels: list[int],
        aspp_dilations: list[int],
        aspp_dropout: float,
        decoder_channels: list[int],
        common_stride: int,
        norm: Norm,
        train_size: tuple[int, int] | None,
        loss_weight: float = 1.0,
        loss_type: str = "cross_entropy",
        ignore_value: int = -1,
        num_classes: int | None = None,
        use_depthwise_separable_conv: bool = False,
    ) -> None:
        """Builds the layers.

        Args:
            input_shape: channels and stride of each feature map.
            project_channels: of each map but the coarsest, finest first.
            aspp_dilations: three.
            aspp_dropout: probability.
            decoder_channels: after each fusion, finest first, and of ASPP's result.
            common_stride: stride of the finest map, in pixels.
            norm: as ``get_norm`` takes it.
            train_size: (height, width) of all training images, for ASPP's pooling; None pools the
                whole map.
            loss_weight: factor of the loss.
            loss_type: ``cross_entropy`` or ``hard_pixel_mining`` (of the hardest fifth).
            ignore_value: label of pixels without a loss.
            num_classes: K; None leaves classifier and loss to a subclass.
            use_depthwise_separable_conv: in ASPP and in the fusions.
        """
        super().__init__()
        by_stride = sorted(input_shape.items(), key=lambda item: item[1].stride or 0)
        self.in_features = [name for name, _ in by_stride]
        if not len(project_channels) + 1 == len(decoder_channels) == len(by_stride):
            raise UserError(
                f"{len(by_stride)} IN_FEATURES need one PROJECT_CHANNELS less, not "
                f"{project_channels}, and as many decoder channels, not {decoder_channels}."
            )
        self.common_stride = common_stride
        self.loss_weight = loss_weight
        self.ignore_value = ignore_value
        self.decoder = nn.ModuleDict()
        for (name, spec), project, fused, coarser in zip(
            by_stride[:-1],
            project_channels,
            decoder_channels[:-1],
            decoder_channels[1:],
            strict=True,
        ):
            assert spec.channels is not None, "the map's channels must be known"
            self.decoder[name] = nn.ModuleDict(
                {
                    "project_conv": conv_block(spec.channels, project, 1, norm),
                    "fuse_conv": decoder_convs(
                        project + coarser,
                        fused,
                        fused,
                        norm,
                        separable=use_depthwise_separable_conv,
                    ),
                }
            )
        name, spec = by_stride[-1]
        aspp = aspp_on(
            spec,
            decoder_channels[-1],
            aspp_dilations,
            norm=norm,
            train_size=train_size,
            dropout=aspp_dropout,
            separable=use_depthwise_separable_conv,
        )
        self.decoder[name] = nn.ModuleDict({"project_conv": aspp})
        if num_classes is not None:
            self.predictor = predictor(decoder_channels[0], num_classes)
            self.loss = pixel_loss(loss_type, ignore_value, top_k=0.2)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Reads ``MODEL.SEM_SEG_HEAD`` and ``INPUT.CROP``."""
        head = cfg.MODEL.SEM_SEG_HEAD
        return decoder_settings(cfg, "SEM_SEG_HEAD", input_shape) | {
            "loss_weight": head.LOSS_WEIGHT,
            "loss_type": head.LOSS_TYPE,
            "ignore_value": head.IGNORE_VALUE,
            "num_classes": head.NUM_CLASSES,
        }

    def forward(self, features: dict[str, Tensor], targets: Tensor | None = None) -> Output:
        """Training: (None, losses). Inference: ((N, K, H, W) logits at image size, {})."""
        logits = self.layers(features)
        if self.training:
            return None, self.losses(logits, targets)
        return upsample(logits, self.common_stride), {}

    def decode(self, features: dict[str, Tensor]) -> Tensor:
        """(N, C, H / common_stride, W / common_stride) from the feature maps by name."""
        *finer, coarsest = self.in_features
        x = self.decoder[coarsest]["project_conv"](features[coarsest])
        for name in reversed(finer):
            stage = self.decoder[name]
            own = stage["project_conv"](features[name])
            x = F.interpolate(x, size=own.shape[-2:], mode="bilinear", align_corners=False)
            x = stage["fuse_conv"](torch.cat([own, x], dim=1))
        return x

    def layers(self, features: dict[str, Tensor]) -> Tensor:
        """(N, K, H / common_stride, W / common_stride) logits."""
        return self.predictor(self.decode(features))

    def losses(self, predictions: Tensor, targets: Tensor | None) -> dict[str, Tensor]:
        """``loss_sem_seg`` of logits at ``common_stride`` and (N, H, W) labels."""
        loss = self.loss(upsample(predictions, self.common_stride), targets)
        return {"loss_sem_seg": loss * self.loss_weight}


class DeepLabV3Head(nn.Module):
    """ASPP on one dilated map and a classifier."""

    def __init__(self, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> None:
        """Reads ``MODEL.SEM_SEG_HEAD`` and ``INPUT.CROP``."""
        super().__init__()
        head = cfg.MODEL.SEM_SEG_HEAD
        shapes = shapes_of(input_shape, head.IN_FEATURES, "MODEL.SEM_SEG_HEAD.IN_FEATURES")
        if len(shapes) != 1 or head.CONVS_DIM != head.ASPP_CHANNELS:
            raise UserError(
                f"DeepLabV3Head takes one map, not IN_FEATURES {head.IN_FEATURES}, and has no "
                f"decoder: CONVS_DIM {head.CONVS_DIM} and ASPP_CHANNELS {head.ASPP_CHANNELS} agree."
            )
        ((self.in_feature, spec),) = shapes.items()
        self.common_stride = head.COMMON_STRIDE
        self.loss_weight = head.LOSS_WEIGHT
        self.ignore_value = head.IGNORE_VALUE
        self.aspp = aspp_on(
            spec,
            head.ASPP_CHANNELS,
            head.ASPP_DILATIONS,
            norm=head.NORM,
            train_size=absolute_crop_size(cfg),
            dropout=head.ASPP_DROPOUT,
            separable=head.USE_DEPTHWISE_SEPARABLE_CONV,
        )
        self.predictor = predictor(head.CONVS_DIM, head.NUM_CLASSES)
        self.loss = pixel_loss(head.LOSS_TYPE, head.IGNORE_VALUE, top_k=0.2)

    def forward(self, features: dict[str, Tensor], targets: Tensor | None = None) -> Output:
        """Training: (None, losses). Inference: ((N, K, H, W) logits at image size, {})."""
        logits = self.predictor(self.aspp(features[self.in_feature]))
        if self.training:
            return None, self.losses(logits, targets)
        return upsample(logits, self.common_stride), {}

    def losses(self, predictions: Tensor, targets: Tensor | None) -> dict[str, Tensor]:
        """``loss_sem_seg`` of logits at ``common_stride`` and (N, H, W) labels."""
        loss = self.loss(upsample(predictions, self.common_stride), targets)
        return {"loss_sem_seg": loss * self.loss_weight}
