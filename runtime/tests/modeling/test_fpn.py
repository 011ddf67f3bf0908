from __future__ import annotations

from typing import Any

import pytest
import torch
from golden import Golden, reference_json, weight_rule
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone, build_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

MASK_RCNN = "COCO-InstanceSegmentation/mask_rcnn_R_{}_FPN_3x"
STAGES = ["res2", "res3", "res4", "res5"]


class Pyramid(Backbone):
    """Constant maps of one channel, of value 1, 2, ... from fine to coarse."""

    def __init__(self, strides: list[int]) -> None:
        super().__init__()
        self._out_features = [f"res{i}" for i in range(2, 2 + len(strides))]
        self._out_feature_strides = dict(zip(self._out_features, strides, strict=True))
        self._out_feature_channels = dict.fromkeys(self._out_features, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            name: torch.full((1, 1, x.shape[2] // stride, x.shape[3] // stride), float(index))
            for index, (name, stride) in enumerate(self._out_feature_strides.items(), start=1)
        }


def fpn(strides: list[int], **kwargs: Any) -> FPN:
    bottom_up = Pyramid(strides)
    return FPN(bottom_up, list(bottom_up.output_shape()), 1, **kwargs)


def as_identity(model: FPN) -> FPN:
    """Each convolution passes its input on."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.dirac_(module.weight)
    return model


def published_backbone(depth: int) -> Backbone:
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = depth
    cfg.MODEL.RESNETS.OUT_FEATURES = STAGES
    cfg.MODEL.FPN.IN_FEATURES = STAGES
    return build_backbone(cfg)


def filled_backbone(depth: int, golden: Golden) -> nn.Module:
    with torch.device("meta"):  # no time is spent on initial weights
        model = published_backbone(depth)
    model = model.to_empty(device="cpu").eval()
    return weight_rule().fill(model, golden.params["seed"], golden.params["gains"])


@torch.no_grad()
def test_resnet_50_features_are_the_recorded_ones() -> None:
    golden = Golden("resnet_fpn_features")
    model = filled_backbone(50, golden)
    for name, feature in model(golden.input("x")).items():
        golden.check(name, feature[:, ::4])
    for name, feature in model.bottom_up(golden.input("x")).items():
        golden.check(name, feature[:, ::32])
    facts = golden.json("facts")
    shapes = {name: [s.channels, s.stride] for name, s in model.output_shape().items()}
    assert shapes == facts["output_shape"]
    assert list(shapes) == list(facts["output_shape"])
    assert model.size_divisibility == facts["div"]
    assert model.padding_constraints == facts["pad"]
    assert model.bottom_up.size_divisibility == facts["bottom_up_div"]


@torch.no_grad()
def test_resnet_101_features_are_the_recorded_ones() -> None:
    golden = Golden("resnet_fpn_features")
    model = filled_backbone(101, golden)
    golden.check("r101_p5", model(golden.input("x"))["p5"][:, ::4])


@pytest.mark.parametrize("depth", [50, 101])
def test_parameters_are_those_of_the_published_models(depth: int) -> None:
    recorded = reference_json("state_dicts.json")[MASK_RCNN.format(depth)]["entries"]
    expected = {k: v for k, v in recorded.items() if k.startswith("backbone.")}
    with torch.device("meta"):
        model = nn.ModuleDict({"backbone": published_backbone(depth)})
    parameters = dict(model.named_parameters())
    entries = {
        name: [
            list(value.shape),
            str(value.dtype).removeprefix("torch."),
            "param" if name in parameters else "buffer",
            name in parameters and parameters[name].requires_grad,
        ]
        for name, value in model.state_dict().items()
    }
    assert entries == expected
    assert list(entries) == list(expected)


def test_coarser_maps_are_added_to_finer_ones() -> None:
    outputs = as_identity(fpn([4, 8, 16]))(torch.zeros(1, 1, 32, 32))
    assert {name: x.shape[-1] for name, x in outputs.items()} == {"p2": 8, "p3": 4, "p4": 2}
    # p4 = 3, p3 = 2 + 3, p2 = 1 + 5
    assert [x.unique().tolist() for x in outputs.values()] == [[6], [5], [3]]


def test_averaging_halves_each_sum() -> None:
    outputs = as_identity(fpn([4, 8, 16], fuse_type="avg"))(torch.zeros(1, 1, 32, 32))
    # p3 = (2 + 3) / 2, p2 = (1 + 2.5) / 2
    assert [x.unique().tolist() for x in outputs.values()] == [[1.75], [2.5], [3]]


def test_the_top_block_reads_the_pyramid_or_what_is_below() -> None:
    top = LastLevelMaxPool()
    top.in_feature = "p3"
    model = as_identity(fpn([4, 8], top_block=top))
    outputs = model(torch.zeros(1, 1, 40, 40))
    assert list(outputs) == ["p2", "p3", "p4"]
    assert outputs["p4"].shape == (1, 1, 3, 3)
    assert model.output_shape()["p4"] == ShapeSpec(channels=1, stride=16)
    top.in_feature = "res2"
    assert model(torch.zeros(1, 1, 40, 40))["p4"].shape == (1, 1, 5, 5)


def test_one_pixel_of_the_coarsest_map_is_enough() -> None:
    outputs = as_identity(fpn([4, 8]))(torch.zeros(1, 1, 8, 8))
    assert outputs["p2"].unique().tolist() == [3]


def test_padding_constraints() -> None:
    model = fpn([4, 8], square_pad=64)
    assert model.padding_constraints == {"square_size": 64}
    assert model.size_divisibility == 8


@pytest.mark.parametrize(("norm", "has_bias"), [("", True), ("GN", False)])
def test_bias_only_without_norm(norm: str, has_bias: bool) -> None:
    bottom_up = Pyramid([4])
    model = FPN(bottom_up, ["res2"], 32, norm=norm)
    names = {name for name, _ in model.named_parameters()}
    assert ("fpn_lateral2.bias" in names) == has_bias
    assert ("fpn_output2.norm.weight" in names) == (not has_bias)


@pytest.mark.parametrize(
    ("strides", "kwargs", "message"),
    [
        ([4, 16], {}, r"strides \[4, 16\]"),
        ([4, 4], {}, "twice the one before"),
        ([6, 12], {}, "power of 2"),
        ([], {}, "IN_FEATURES is empty"),
        ([4, 8], {"fuse_type": "max"}, "FUSE_TYPE = 'max'"),
        ([4, 8], {"top_block": LastLevelMaxPool()}, "'p5'"),
    ],
)
def test_what_cannot_be_built_is_named(
    strides: list[int], kwargs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fpn(strides, **kwargs)


def test_unknown_input_features_are_answered_with_the_known_ones() -> None:
    with pytest.raises(KeyError, match=r"FPN.IN_FEATURES names \['res7'\].*'res2', 'res3'"):
        FPN(Pyramid([4, 8]), ["res2", "res7"], 1)


def test_a_builder_must_give_a_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONE_REGISTRY._obj_map, "build_conv", lambda *_: nn.Conv2d(1, 1, 1))
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_conv"
    with pytest.raises(TypeError, match="'build_conv' built a Conv2d, not a Backbone"):
        build_backbone(cfg)


def test_a_backbone_must_have_a_forward() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Backbone()


@torch.no_grad()
@pytest.mark.parametrize("part", ["", "bottom_up"])
def test_maps_have_the_memory_format_of_the_images(part: str) -> None:
    model = published_backbone(50).eval().get_submodule(part)
    images = torch.randn(2, 3, 64, 96)
    maps = model(images)
    assert all(map_.is_contiguous() for map_ in maps.values())
    reordered = model(images.contiguous(memory_format=torch.channels_last))
    for name, map_ in reordered.items():
        assert map_.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(map_, maps[name])
