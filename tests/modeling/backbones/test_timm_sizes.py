"""Images of any size for ``timm`` models whose windows or positions want certain ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_configs import unet_config
from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from seg_projects.engine.model_checks import check_only_size
from seg_projects.errors import UserError
from seg_projects.modeling.backbones.timm_sizes import with_borders

pytest.importorskip("timm", reason="the extra `models` is not installed")

FIXED = "levit_conv_128s"
PYRAMID = {"MODEL.BACKBONE.NAME": "build_timm_fpn_backbone"}


def _cfg(name: str, **keys: Any) -> CfgNode:
    cfg = unet_config(**{"MODEL.BACKBONE.NAME": "build_timm_backbone"} | keys)
    cfg.MODEL.TIMM.NAME = name
    maps = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES, cfg.MODEL.FPN.OUT_CHANNELS = maps, 8
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = maps
    return cfg


@pytest.mark.parametrize(
    ("name", "multiple"),
    [
        ("resnet18", 32),
        ("swin_tiny_patch4_window7_224", 32),
        ("maxxvitv2_nano_rw_256", 256),  # windows of 8 cells of stride 32
        ("mobilevitv2_050", 64),  # patches of 2 cells
    ],
)
def test_images_are_padded_to_what_the_model_takes(name: str, multiple: int) -> None:
    before = torch.get_rng_state()
    with torch.device("meta"):
        backbone = build_backbone(_cfg(name, **PYRAMID))
    assert backbone.size_divisibility == backbone.bottom_up.size_divisibility == multiple
    assert backbone.only_size is backbone.bottom_up.only_size is None
    assert torch.equal(torch.get_rng_state(), before)


def test_learns_and_predicts_at_odd_sizes() -> None:
    model = build_model(_cfg("mobilevitv2_050")).train()
    batch = [
        {"image": torch.rand(3, h, w), "sem_seg": torch.randint(0, 3, (h, w))}
        for h, w in ((41, 67), (50, 35))
    ]
    sum(model(batch).values()).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    with torch.no_grad():
        outputs = model.eval()(batch)
    assert [one["sem_seg"].shape for one in outputs] == [(3, 41, 67), (3, 50, 35)]


@torch.no_grad()
def test_models_of_one_size_take_it_alone_whole_or_in_windows() -> None:
    cfg = _cfg(FIXED, **{"MODEL.SLIDING_WINDOW.SIZE": [224, 224]})
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res4", "res5", "res6"]
    model = build_model(cfg).eval()
    assert (model.backbone.size_divisibility, model.backbone.only_size) == (224, (224, 224))
    image = {"image": torch.rand(3, 225, 100)}
    assert model([image])[0]["sem_seg"].shape == (3, 225, 100)
    model.window = ()
    with pytest.raises(UserError, match=rf"{FIXED} takes images of 224 x 224.*have 448 x 224"):
        model([image])


class _OfOneSize(nn.Module):
    only_size = (224, 224)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "INPUT.MIN_SIZE_TEST has 800 pixels, but the backbone takes images of 224 x 224"),
        ({"MODEL.SLIDING_WINDOW.SIZE": [224, 256]}, "SLIDING_WINDOW.SIZE has 256 pixels"),
        ({"INPUT.MIN_SIZE_TEST": 224}, "INPUT.MIN_SIZE_TRAIN has 800 pixels"),
        (
            {"INPUT.MIN_SIZE_TEST": 0, "INPUT.CROP.ENABLED": True, "INPUT.CROP.SIZE": [224, 300]},
            "INPUT.CROP.SIZE has 300 pixels",
        ),
    ],
)
def test_sizes_that_never_fit_are_refused(keys: dict[str, Any], message: str) -> None:
    cfg = unet_config(**{"INPUT.CROP.TYPE": "absolute"}, **keys)
    with pytest.raises(UserError, match=message):
        check_only_size(cfg, _OfOneSize())


def test_sizes_that_may_fit_are_not() -> None:
    cfg = unet_config(**{"MODEL.SLIDING_WINDOW.SIZE": [224, 200], "INPUT.CROP.ENABLED": True})
    check_only_size(cfg, _OfOneSize())
    check_only_size(unet_config(), nn.Identity())


def test_pyramid_of_broken_cells_is_refused() -> None:
    cfg = _cfg(FIXED, **PYRAMID)
    cfg.MODEL.FPN.IN_FEATURES = ["res5", "res6"]
    with pytest.raises(UserError, match=r"of stride 64, which does not divide .*\(224, 224\)"):
        build_backbone(cfg)


def test_maps_that_do_not_follow_the_image_are_refused() -> None:
    with pytest.raises(UserError, match=r"'pit_ti_224', no backbone: its maps have .*\(27, 27\)"):
        build_backbone(_cfg("pit_ti_224"))


def test_borders_that_unpadded_convolutions_drop_are_repeated() -> None:
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    wanted = [[1, 2, 2], [1, 2, 2], [3, 4, 4], [3, 4, 4]]
    assert with_borders(features, (4, 3)).tolist() == [[wanted]]


@torch.no_grad()
def test_maps_have_a_cell_per_stride_where_convolutions_are_not_padded() -> None:
    cfg = _cfg("inception_v3", **{"MODEL.TIMM.OUT_INDICES": [0, 1]})
    features = build_backbone(cfg).eval()(torch.rand(1, 3, 64, 96))
    assert [f.shape[-2:] for f in features.values()] == [(32, 48), (16, 24)]
