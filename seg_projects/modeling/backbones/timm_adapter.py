"""Every ``timm`` model with feature maps as a backbone, alone or under a feature pyramid.

Nothing is downloaded: weights come from ``MODEL.WEIGHTS``.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from math import log2
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool
from seg_projects.errors import UserError
from seg_projects.modeling.backbones.timm_norms import freeze_until, replace_batch_norms
from seg_projects.modeling.backbones.timm_sizes import Sizes, accepted_sizes, with_borders
from seg_projects.modeling.semantic_heads.base import listed_maps

# How a transformer is told to take images of any size; the first that the model knows.
ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class TimmBackbone(Backbone):
    """The intermediate maps of a ``timm`` model, under names that follow from their strides.

    Maps of a pyramid are ``res<n>``, n being log2 of the stride, as in a ResNet: ``res2`` (stride
    4) to ``res5`` (stride 32). With dilation, two maps may share a stride; n still rises by one
    from map to map. Where all maps have one stride, as in a plain ViT, they are ``block<i>``,
    counted from 0. A ViT's position embedding is resized to the input at each call.
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int,
        out_indices: Sequence[int] = (),
        output_stride: int = 32,
        drop_path_rate: float = 0.0,
        norm: str = "",
        freeze_at: int = 0,
    ) -> None:
        """Builds the model with random weights.

        Args:
            name: as ``timm.list_models()`` has it, maybe with the tag of a training after a dot.
            in_channels: of the image.
            out_indices: which of ``timm``'s maps to give, counted from 0; empty for its choice:
                all of a pyramid, the last blocks of a plain ViT.
            output_stride: 8 or 16 dilates the last stages of the models that can.
            drop_path_rate: probability of leaving out a residual branch in training; 0 leaves
                ``timm``'s own.
            norm: what BatchNorm becomes: "BN", "SyncBN", "FrozenBN", "GN"; "" leaves it.
            freeze_at: 0 freezes nothing, n all up to ``res<n>``, or the first n - 1 blocks where
                there is one stride; 1 the stem.

        Raises:
            UserError: ``timm`` or the model is missing, or does not do what is asked for.
        """
        super().__init__()
        options: dict[str, Any] = {"in_chans": in_channels}
        if out_indices:
            options["out_indices"] = tuple(out_indices)
        if output_stride != 32:
            options["output_stride"] = output_stride
        if drop_path_rate > 0:
            options["drop_path_rate"] = drop_path_rate
        features = _create(name, options)
        self.model = features.model
        self.out_indices = features.out_indices
        stages = features.feature_info.info
        chosen = features.feature_info.get_dicts()
        names = _map_names(stages)
        # What Backbone.output_shape reads.
        self._out_features = [names[stage["index"]] for stage in chosen]
        self._out_feature_channels = {names[s["index"]]: s["num_chs"] for s in chosen}
        self._out_feature_strides = {names[s["index"]]: s["reduction"] for s in chosen}
        self.name = name
        self._sizes = Sizes(max(self._out_feature_strides.values()))
        self._sizes = self._try_sizes(in_channels)
        replace_batch_norms(self.model, norm, name=name)
        freeze_until(self.model, freeze_at, _levels(stages), [s["module"] for s in stages])

    def _try_sizes(self, in_channels: int) -> Sizes:
        *_, height, width = self.model.pretrained_cfg["input_size"]
        strides = self._out_feature_strides
        try:
            sizes = accepted_sizes(self, strides, channels=in_channels, trained=(height, width))
        except ValueError as error:
            raise UserError(f"MODEL.TIMM.NAME is {self.name!r}, no backbone: {error}.") from error
        return sizes or self._sizes

    @property
    def size_divisibility(self) -> int:
        """What divides the sides of the images that the model takes: they are padded to it."""
        return self._sizes.multiple

    @property
    def only_size(self) -> tuple[int, int] | None:
        """Height and width of the images, where the model takes one size alone."""
        return self._sizes.only

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) images, H and W multiples of ``size_divisibility``, to maps by name.

        Raises:
            UserError: the model takes images of another size alone.
        """
        size, only = (x.shape[-2], x.shape[-1]), self._sizes.only
        if only is not None and size != only:
            raise UserError(
                f"MODEL.TIMM.NAME {self.name} takes images of {only[0]} x {only[1]} pixels alone, "
                f"here, padded, they have {size[0]} x {size[1]}: train on crops of that size, "
                "INPUT.CROP, predict in windows of it, MODEL.SLIDING_WINDOW, or take a model for "
                "any size, such as a ConvNeXt, Swin or ViT."
            )
        maps = self.model.forward_intermediates(
            x, indices=self.out_indices, norm=False, output_fmt="NCHW", intermediates_only=True
        )
        if not self._sizes.whole:
            strides = self._out_feature_strides.values()
            maps = [
                with_borders(m, (-(-size[0] // s), -(-size[1] // s)))
                for m, s in zip(maps, strides, strict=True)
            ]
        return dict(zip(self._out_features, maps, strict=True))


def _create(name: str, options: dict[str, Any]) -> nn.Module:
    """``timm``'s feature extractor, which has dropped the layers that no chosen map needs."""
    try:
        import timm
    except ImportError as error:
        raise UserError(
            "MODEL.TIMM needs timm, which is not installed: pip install timm."
        ) from error
    # Names with a ":" or "/" would be looked up on a hub or in a folder.
    architecture, _, _ = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
        raise UserError(
            f"MODEL.TIMM.NAME is {name!r}, which timm {timm.__version__} does not have. "
            f"Near names: {', '.join(near) or 'none'}."
        )
    for any_size in ANY_SIZE:
        try:
            features = timm.create_model(
                name,
                pretrained=False,
                features_only=True,
                feature_cls="getter",
                **options,
                **any_size,
            )
        except TypeError as error:
            if any(key in str(error) for key in any_size):
                continue
            raise _refused(name, options, error) from error
        except (AssertionError, NotImplementedError, RuntimeError) as error:
            raise _refused(name, options, error) from error
        if hasattr(features.model, "forward_intermediates"):
            return features
        break
    raise UserError(f"MODEL.TIMM.NAME is {name!r}, a model that gives no feature maps.")


def _refused(name: str, options: dict[str, Any], error: Exception) -> UserError:
    keys = {"out_indices": "OUT_INDICES", "output_stride": "OUTPUT_STRIDE"}
    keys |= {"drop_path_rate": "DROP_PATH_RATE"}
    asked = ", ".join(f"{keys[k]} {v}" for k, v in options.items() if k in keys)
    return UserError(f"MODEL.TIMM: {name} does not go with {asked or 'feature maps'}: {error}")


def _is_plain(stages: Sequence[dict[str, Any]]) -> bool:
    return len(stages) > 1 and len({stage["reduction"] for stage in stages}) == 1


def _levels(stages: Sequence[dict[str, Any]]) -> list[int]:
    """The n of ``res<n>`` per stage; for blocks of one stride 2, 3, ..."""
    if _is_plain(stages):
        return list(range(2, len(stages) + 2))
    levels: list[int] = []
    for stage in stages:
        level = round(log2(stage["reduction"]))
        levels.append(max(level, levels[-1] + 1) if levels else level)
    return levels


def _map_names(stages: Sequence[dict[str, Any]]) -> list[str]:
    if _is_plain(stages):
        return [f"block{index}" for index in range(len(stages))]
    return [f"res{level}" for level in _levels(stages)]


class TimmFPN(FPN):
    """A feature pyramid that takes images of the sizes that its ``TimmBackbone`` takes."""

    @property
    def size_divisibility(self) -> int:
        """What divides the sides of the images."""
        return self.bottom_up.size_divisibility

    @property
    def only_size(self) -> tuple[int, int] | None:
        """Height and width of the images, where there is one size alone."""
        return self.bottom_up.only_size


@BACKBONE_REGISTRY.register()
def build_timm_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmBackbone:
    """``MODEL.TIMM`` as a backbone, frozen up to ``MODEL.BACKBONE.FREEZE_AT``."""
    node = cfg.MODEL.TIMM
    assert input_shape.channels is not None, "the input's channels must be known"
    return TimmBackbone(
        node.NAME,
        in_channels=input_shape.channels,
        out_indices=node.OUT_INDICES,
        output_stride=node.OUTPUT_STRIDE,
        drop_path_rate=node.DROP_PATH_RATE,
        norm=node.NORM,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> TimmFPN:
    """A feature pyramid as ``MODEL.FPN`` describes it, with one pooled map on top, as ``p6``."""
    bottom_up = build_timm_backbone(cfg, input_shape)
    given = bottom_up.output_shape()
    node = cfg.MODEL.FPN
    for name in node.IN_FEATURES:
        if name not in given:
            raise UserError(
                f"MODEL.FPN.IN_FEATURES has {name!r}; {cfg.MODEL.TIMM.NAME} gives "
                f"{listed_maps(given)}."
            )
    if not node.IN_FEATURES:
        raise UserError(
            f"MODEL.FPN.IN_FEATURES is empty; {cfg.MODEL.TIMM.NAME} gives {listed_maps(given)}."
        )
    coarsest = max((given[name].stride or 1, name) for name in node.IN_FEATURES)[0]
    if bottom_up.only_size and any(side % coarsest for side in bottom_up.only_size):
        raise UserError(
            f"MODEL.FPN.IN_FEATURES has a map of stride {coarsest}, which does not divide the one "
            f"size that {cfg.MODEL.TIMM.NAME} takes, {bottom_up.only_size}: leave it out."
        )
    top = LastLevelMaxPool()
    # Detectron2 has it on p5, which is not the coarsest map of all models.
    top.in_feature = f"p{round(log2(coarsest))}"
    return TimmFPN(
        bottom_up=bottom_up,
        in_features=node.IN_FEATURES,
        out_channels=node.OUT_CHANNELS,
        norm=node.NORM,
        top_block=top,
        fuse_type=node.FUSE_TYPE,
    )
