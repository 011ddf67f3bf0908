from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import DeformConv, FrozenBatchNorm2d, ModulatedDeformConv, ShapeSpec
from detectron2.modeling import ResNet, build_backbone, make_stage
from detectron2.modeling.backbone.resnet import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
    build_resnet_backbone,
)


def resnet_config(**resnets: Any) -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    for key, value in resnets.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def shallow_config(**resnets: Any) -> CfgNode:
    return resnet_config(**{"DEPTH": 18, "RES2_OUT_CHANNELS": 64, **resnets})


def small_resnet(**kwargs: Any) -> ResNet:
    stages = [
        make_stage(BasicBlock, 2, in_channels=4, out_channels=8, stride_per_block=[1, 1]),
        make_stage(BasicBlock, 1, in_channels=8, out_channels=16, stride=2),
        make_stage(BasicBlock, 1, in_channels=16, out_channels=32, stride=2),
    ]
    return ResNet(BasicStem(3, 4), stages, **kwargs)


def test_default_outputs_the_last_stage() -> None:
    model = small_resnet()
    outputs = model(torch.zeros(2, 3, 64, 32))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {"res4": (2, 32, 4, 2)}
    assert model.output_shape() == {"res4": ShapeSpec(channels=32, stride=16)}
    assert model.size_divisibility == 0
    assert model.padding_constraints == {}


def test_outputs_are_those_asked_for_and_later_stages_are_left_out() -> None:
    model = small_resnet(out_features=["stem", "res3"])
    outputs = model(torch.zeros(1, 3, 32, 32))
    assert {name: tuple(x.shape) for name, x in outputs.items()} == {
        "stem": (1, 4, 8, 8),
        "res3": (1, 16, 4, 4),
    }
    assert [name for name, _ in model.named_children()] == ["stem", "res2", "res3"]


def test_linear_classifies_the_pooled_map() -> None:
    model = small_resnet(num_classes=5)
    assert model(torch.zeros(2, 3, 64, 64))["linear"].shape == (2, 5)
    assert [name for name, _ in model.named_children()][-2:] == ["avgpool", "linear"]


def test_one_pixel_goes_through() -> None:
    assert small_resnet().eval()(torch.zeros(1, 3, 1, 1))["res4"].shape == (1, 32, 1, 1)


@pytest.mark.parametrize("names", [["res9"], ["linear"], []])
def test_unknown_outputs_are_answered_with_the_known_ones(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"OUT_FEATURES.*'stem', 'res2', 'res3', 'res4'"):
        small_resnet(out_features=names)


def test_an_image_without_batch_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"\(N, C, H, W\) images, not \(3, 8, 8\)"):
        small_resnet()(torch.zeros(3, 8, 8))


@pytest.mark.parametrize(("freeze_at", "trainable"), [(0, 3), (1, 2), (2, 1), (3, 0), (9, 0)])
def test_freezing_counts_the_stem_first(freeze_at: int, trainable: int) -> None:
    model = small_resnet(freeze_at=freeze_at, out_features=["res3"])
    parts = [model.stem, *model.stages]
    learning = [any(p.requires_grad for p in part.parameters()) for part in parts]
    assert learning == [False] * (3 - trainable) + [True] * trainable
    frozen = [isinstance(part, FrozenBatchNorm2d) for part in model.modules()]
    assert any(frozen) == (freeze_at > 0)


def test_stages_take_arguments_of_each_block() -> None:
    blocks = make_stage(
        BottleneckBlock,
        3,
        in_channels=4,
        out_channels=8,
        bottleneck_channels=2,
        stride_per_block=[2, 1, 1],
        dilation_per_block=[1, 2, 4],
    )
    assert [block.stride for block in blocks] == [2, 1, 1]
    assert [block.conv2.dilation[0] for block in blocks] == [1, 2, 4]
    assert [block.in_channels for block in blocks] == [4, 8, 8]
    assert [block.shortcut is None for block in blocks] == [False, True, True]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"stride_per_block": [1]}, "stride_per_block has 1 values for 2 blocks"),
        ({"stride_per_block": [1, 1], "stride": 1}, "both stride and stride_per_block"),
    ],
)
def test_contradictory_stages_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        make_stage(BasicBlock, 2, in_channels=4, out_channels=4, **kwargs)


@pytest.mark.parametrize(
    ("depth", "block", "blocks", "channels"),
    [
        (18, BasicBlock, [2, 2, 2, 2], [64, 128, 256, 512]),
        (34, BasicBlock, [3, 4, 6, 3], [64, 128, 256, 512]),
        (50, BottleneckBlock, [3, 4, 6, 3], [256, 512, 1024, 2048]),
    ],
)
def test_default_stages(depth: int, block: type, blocks: list[int], channels: list[int]) -> None:
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth, norm="BN")
    assert [len(stage) for stage in stages] == blocks
    assert [stage[-1].out_channels for stage in stages] == channels
    assert [stage[0].stride for stage in stages] == [1, 2, 2, 2]
    assert all(type(b) is block for stage in stages for b in stage)


@pytest.mark.parametrize("in_1x1", [True, False])
def test_the_stride_may_stand_in_the_first_convolution(in_1x1: bool) -> None:
    block = BottleneckBlock(4, 8, bottleneck_channels=2, stride=2, stride_in_1x1=in_1x1)
    assert (block.conv1.stride[0], block.conv2.stride[0]) == ((2, 1) if in_1x1 else (1, 2))
    assert block(torch.zeros(1, 4, 6, 6)).shape == (1, 8, 3, 3)


def test_an_identity_shortcut_cannot_have_a_stride() -> None:
    with pytest.raises(ValueError, match=r"4 input and output channels.*stride 2"):
        BasicBlock(4, 4, stride=2)


@pytest.mark.parametrize("modulated", [True, False])
def test_a_new_deformable_block_is_a_regular_one(modulated: bool) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"bottleneck_channels": 4, "stride": 2, "dilation": 2, "norm": ""}
    regular = BottleneckBlock(4, 8, **sizes).eval()
    deformable = DeformBottleneckBlock(4, 8, deform_modulated=modulated, **sizes).eval()
    deformable.load_state_dict(regular.state_dict(), strict=False)
    # Weights of 1 / 2, the sigmoid of 0, halve the modulated convolution.
    if modulated:
        deformable.conv2.weight.data *= 2
    x = torch.rand(1, 4, 9, 9)
    torch.testing.assert_close(deformable(x), regular(x))


def test_modulated_offsets_move_the_samples() -> None:
    block = DeformBottleneckBlock(2, 2, bottleneck_channels=2, deform_modulated=True, norm="")
    x = torch.rand(1, 2, 6, 6)
    before = block(x)
    nn.init.ones_(block.conv2_offset.bias)
    assert block.conv2_offset.out_channels == 27
    assert not torch.allclose(block(x), before)


def test_config_places_deformable_and_grouped_blocks() -> None:
    cfg = resnet_config(
        DEFORM_ON_PER_STAGE=[False, True, False, False],
        DEFORM_MODULATED=True,
        DEFORM_NUM_GROUPS=2,
        NUM_GROUPS=2,
        WIDTH_PER_GROUP=2,
        RES2_OUT_CHANNELS=8,
        STEM_OUT_CHANNELS=4,
        NORM="BN",
        OUT_FEATURES=["res3"],
    )
    model = build_backbone(cfg)
    assert isinstance(model.res2[0], BottleneckBlock)
    assert isinstance(model.res3[0].conv2, ModulatedDeformConv)
    assert not isinstance(model.res3[0].conv2, DeformConv)
    assert model.res3[0].conv2_offset.out_channels == 54
    assert model.res2[0].conv2.groups == 2
    assert (model.res2[0].conv1.out_channels, model.res3[0].conv1.out_channels) == (4, 8)
    assert model(torch.zeros(1, 3, 16, 16))["res3"].shape == (1, 16, 2, 2)


def test_dilation_of_res5_keeps_its_resolution() -> None:
    cfg = resnet_config(RES5_DILATION=2, OUT_FEATURES=["res4", "res5"], WIDTH_PER_GROUP=1)
    with torch.device("meta"):
        model = build_backbone(cfg)
    assert {name: shape.stride for name, shape in model.output_shape().items()} == {
        "res4": 16,
        "res5": 16,
    }
    assert [block.conv2.dilation for block in model.res5] == [(2, 2)] * 3
    assert model.res4[0].conv2.dilation == (1, 1)


def test_input_channels_are_those_of_the_pixel_mean() -> None:
    cfg = shallow_config(OUT_FEATURES=["stem"])
    cfg.MODEL.PIXEL_MEAN = [0.0] * 5
    assert build_backbone(cfg).stem.conv1.in_channels == 5
    assert build_resnet_backbone(cfg, ShapeSpec(channels=2)).stem.conv1.in_channels == 2


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (resnet_config(DEPTH=51), r"depth 51 is unknown.*18, 34, 50, 101, 152"),
        (resnet_config(RES5_DILATION=3), "RES5_DILATION = 3 must be 1 or 2"),
        (resnet_config(DEFORM_ON_PER_STAGE=[True]), "DEFORM_ON_PER_STAGE needs 4 values"),
        (resnet_config(OUT_FEATURES=["res6"]), r"\['res6'\].*'stem', 'res2'.*'res5'"),
        (resnet_config(DEPTH=18), "RES2_OUT_CHANNELS = 256 must be 64 for DEPTH = 18"),
        (shallow_config(RES5_DILATION=2), "RES5_DILATION = 2 must be 1"),
        (shallow_config(NUM_GROUPS=2), "NUM_GROUPS = 2 must be 1"),
        (shallow_config(DEFORM_ON_PER_STAGE=[True] * 4), "DEFORM_ON_PER_STAGE"),
    ],
)
def test_what_cannot_be_built_is_named(cfg: CfgNode, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_backbone(cfg)


def test_an_unknown_backbone_is_answered_with_the_known_ones() -> None:
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_vgg"
    with pytest.raises(KeyError, match=r"'build_vgg'.*build_resnet_backbone.*build_resnet_fpn"):
        build_backbone(cfg)
