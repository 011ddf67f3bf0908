"""Residual networks (arXiv:1512.03385)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, ShapeSpec

from ._residual_blocks import BasicBlock, BasicStem, BottleneckBlock, DeformBottleneckBlock
from .backbone import Backbone, channels_last_inside
from .build import BACKBONE_REGISTRY

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

ResNetBlockBase = CNNBlockBase

_BLOCKS_PER_STAGE = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
}


class ResNet(Backbone):
    """A stem, then stages ``res2``, ``res3``, ... of blocks, then perhaps a linear classifier."""

    def __init__(
        self,
        stem: nn.Module,
        stages: list[list[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: list[str] | None = None,
        freeze_at: int = 0,
    ) -> None:
        """Assembles the network.

        Args:
            stem: a block in front of the stages.
            stages: the blocks of each stage; stages after the last one of ``out_features`` are
                left out.
            num_classes: classes of the linear layer ``linear``; no such layer if absent.
            out_features: which of ``stem``, ``res2``, ... and ``linear`` to return; the last one
                there is, if absent.
            freeze_at: how many of stem and stages to freeze, see ``freeze``.
        """
        super().__init__()
        self.stem = stem
        self.num_classes = num_classes
        stage_names = [f"res{index}" for index in range(2, 2 + len(stages))]
        available = ["stem", *stage_names] + ([] if num_classes is None else ["linear"])
        self._out_features = available[-1:] if out_features is None else list(out_features)
        _check_out_features(self._out_features, available)
        if "linear" not in self._out_features:
            stage_names = _up_to_last_used(stage_names, self._out_features)
        self.stage_names = tuple(stage_names)

        stride, channels = stem.stride, stem.out_channels
        self._out_feature_strides = {"stem": stride}
        self._out_feature_channels = {"stem": channels}
        for name, blocks in zip(self.stage_names, stages, strict=False):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride, channels = stride * block.stride, block.out_channels
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = channels

        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.linear = nn.Linear(channels, num_classes)
            # "The 1000-way fully-connected layer is initialized by drawing weights from a
            # zero-mean Gaussian with standard deviation of 0.01" (arXiv:1706.02677, 5.1).
            nn.init.normal_(self.linear.weight, std=0.01)
        self.freeze(freeze_at)

    @property
    def stages(self) -> list[nn.Sequential]:
        """The stages that the network has, in order."""
        return [getattr(self, name) for name in self.stage_names]

    @channels_last_inside
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """The maps (N, C', H / stride, W / stride) of ``out_features``; (N, K) for ``linear``.

        Args:
            x: (N, C, H, W) normalised images.
        """
        assert x.dim() == 4, f"ResNet takes (N, C, H, W) images, not {tuple(x.shape)}"
        outputs = {}
        x = self.stem(x)
        if "stem" in self._out_features:
            outputs["stem"] = x
        for name in self.stage_names:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        if "linear" in self._out_features:
            outputs["linear"] = self.linear(self.avgpool(x).flatten(1))
        return outputs

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Makes the first parts constant: no gradients, and fixed batch statistics.

        Args:
            freeze_at: 0 freezes nothing, 1 the stem, 2 the stem and ``res2``, and so on.
        """
        if freeze_at >= 1:
            self.stem.freeze()
        for stage in self.stages[: max(freeze_at - 1, 0)]:
            for block in stage:
                block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """Blocks of the same output channels, one after the other.

        Args:
            block_class: called with the channels and ``kwargs`` as keywords.
            num_blocks: how many.
            in_channels: of the first block.
            out_channels: of all blocks.
            kwargs: the same for all blocks; ``x_per_block`` lists the argument ``x`` of each.
        """
        own = {
            k.removesuffix("_per_block"): v for k, v in kwargs.items() if k.endswith("_per_block")
        }
        shared = {k: v for k, v in kwargs.items() if not k.endswith("_per_block")}
        for name, values in own.items():
            assert name not in shared, f"make_stage got both {name} and {name}_per_block"
            assert len(values) == num_blocks, (
                f"{name}_per_block has {len(values)} values for {num_blocks} blocks"
            )
        return [
            block_class(
                in_channels=out_channels if index else in_channels,
                out_channels=out_channels,
                **shared,
                **{name: values[index] for name, values in own.items()},
            )
            for index in range(num_blocks)
        ]

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """The four stages of a standard network, behind a stem of 64 channels.

        Args:
            depth: 18, 34, 50, 101 or 152.
            block_class: that of the papers if absent: ``BasicBlock`` below 50 layers, else
                ``BottleneckBlock``.
            kwargs: further arguments of all blocks.
        """
        blocks_per_stage = _blocks_per_stage(depth)
        if block_class is None:
            block_class = BasicBlock if depth < 50 else BottleneckBlock
        channels = [64, 128, 256, 512] if depth < 50 else [256, 512, 1024, 2048]
        bottleneck = issubclass(block_class, BottleneckBlock | DeformBottleneckBlock)
        stages = []
        for index, (num_blocks, out_channels) in enumerate(
            zip(blocks_per_stage, channels, strict=True)
        ):
            widths = {"bottleneck_channels": out_channels // 4} if bottleneck else {}
            stages.append(
                ResNet.make_stage(
                    block_class,
                    num_blocks,
                    in_channels=channels[index - 1] if index else 64,
                    out_channels=out_channels,
                    stride_per_block=[2 if index else 1] + [1] * (num_blocks - 1),
                    **{**widths, **kwargs},
                )
            )
        return stages


make_stage = ResNet.make_stage


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """A ``ResNet`` as ``cfg.MODEL.RESNETS`` describes it.

    ``ResNet`` drops the stages behind the last one of ``OUT_FEATURES``; they are drawn all the
    same, so that a seed gives the layers behind the backbone the weights of Detectron2.
    """
    node = cfg.MODEL.RESNETS
    assert input_shape.channels is not None, "the input's channels must be known"
    blocks_per_stage = _blocks_per_stage(node.DEPTH)
    _check_resnet_config(node)
    stage_names = ["res2", "res3", "res4", "res5"]
    _check_out_features(node.OUT_FEATURES, ["stem", *stage_names])
    # The stem comes first: its weights are then the first that a seed gives, as in Detectron2.
    stem = BasicStem(input_shape.channels, node.STEM_OUT_CHANNELS, norm=node.NORM)
    in_channels = node.STEM_OUT_CHANNELS
    stages = []
    for index in range(len(stage_names)):
        dilation = node.RES5_DILATION if stage_names[index] == "res5" else 1
        downsamples = index > 0 and dilation == 1
        out_channels = node.RES2_OUT_CHANNELS * 2**index
        block_class, kwargs = _block_of_stage(node, index, dilation)
        stages.append(
            ResNet.make_stage(
                block_class,
                blocks_per_stage[index],
                in_channels=in_channels,
                out_channels=out_channels,
                stride_per_block=[2 if downsamples else 1] + [1] * (blocks_per_stage[index] - 1),
                **kwargs,
            )
        )
        in_channels = out_channels
    return ResNet(
        stem,
        stages,
        out_features=node.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def _block_of_stage(
    node: CfgNode, index: int, dilation: int
) -> tuple[type[CNNBlockBase], dict[str, Any]]:
    """The class of the blocks of stage ``index`` and their arguments, from ``MODEL.RESNETS``."""
    if node.DEPTH < 50:
        return BasicBlock, {"norm": node.NORM}
    kwargs = {
        "norm": node.NORM,
        "bottleneck_channels": node.NUM_GROUPS * node.WIDTH_PER_GROUP * 2**index,
        "stride_in_1x1": node.STRIDE_IN_1X1,
        "dilation": dilation,
        "num_groups": node.NUM_GROUPS,
    }
    if not node.DEFORM_ON_PER_STAGE[index]:
        return BottleneckBlock, kwargs
    kwargs["deform_modulated"] = node.DEFORM_MODULATED
    kwargs["deform_num_groups"] = node.DEFORM_NUM_GROUPS
    return DeformBottleneckBlock, kwargs


def _check_resnet_config(node: CfgNode) -> None:
    """Raises where ``MODEL.RESNETS`` asks for what the blocks do not offer."""
    if node.RES5_DILATION not in (1, 2):
        raise ValueError(f"MODEL.RESNETS.RES5_DILATION = {node.RES5_DILATION} must be 1 or 2.")
    if len(node.DEFORM_ON_PER_STAGE) != 4:
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE needs 4 values, for res2 to res5, "
            f"not {node.DEFORM_ON_PER_STAGE}."
        )
    if node.DEPTH >= 50:
        return
    required = {
        "RES2_OUT_CHANNELS": 64,
        "RES5_DILATION": 1,
        "NUM_GROUPS": 1,
        "DEFORM_ON_PER_STAGE": [False] * 4,
    }
    for key, value in required.items():
        if node[key] != value:
            raise ValueError(
                f"MODEL.RESNETS.{key} = {node[key]} must be {value} for DEPTH = {node.DEPTH}, "
                "which has blocks without a bottleneck."
            )


def _blocks_per_stage(depth: int) -> list[int]:
    if depth not in _BLOCKS_PER_STAGE:
        raise ValueError(f"A ResNet of depth {depth} is unknown; use {list(_BLOCKS_PER_STAGE)}.")
    return _BLOCKS_PER_STAGE[depth]


def _check_out_features(names: list[str], available: list[str]) -> None:
    unknown = [name for name in names if name not in available]
    if unknown or not names:
        raise ValueError(f"OUT_FEATURES = {names}: a ResNet gives one or more of {available}.")


def _up_to_last_used(stage_names: list[str], used: list[str]) -> list[str]:
    """The stages that ``used`` needs: unused parameters would cost memory and stall DDP."""
    last = max((i for i, name in enumerate(stage_names) if name in used), default=-1)
    return stage_names[: last + 1]
