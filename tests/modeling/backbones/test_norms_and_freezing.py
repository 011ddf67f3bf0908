"""Each backbone with each norm; what ``MODEL.BACKBONE.FREEZE_AT`` stops from learning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import seg_projects.modeling  # noqa: F401 - registers
from detectron2.config import CfgNode, get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from seg_projects import add_seg_projects_config

NORMS = ["FrozenBN", "BN", "SyncBN", "GN"]
RESNET = {
    "MODEL.RESNETS.DEPTH": 18,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 64,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 32,
    "MODEL.RESNETS.RES5_MULTI_GRID": [1, 1],
    "MODEL.RESNETS.OUT_FEATURES": ["res2", "res3", "res4", "res5"],
}
TIMM = {"MODEL.TIMM.NAME": "resnet18"}
FPN = {"MODEL.FPN.IN_FEATURES": ["res2", "res3", "res4", "res5"], "MODEL.FPN.OUT_CHANNELS": 32}
# name: (the key of the norm, other keys, the parts that FREEZE_AT 2 freezes)
BACKBONES: dict[str, tuple[str, dict[str, Any], tuple[str, ...]]] = {
    "build_unet_backbone": (
        "MODEL.UNET.NORM",
        {"MODEL.UNET.CHANNELS": [32, 32, 64]},
        ("levels.0.", "levels.1."),
    ),
    "build_xception_unet_backbone": (
        "MODEL.XCEPTION_UNET.NORM",
        {"MODEL.XCEPTION_UNET.CHANNELS": [32, 32, 64]},
        ("levels.0.", "levels.1."),
    ),
    "build_dilated_resnet_backbone": ("MODEL.RESNETS.NORM", RESNET, ("stem.", "res2.")),
    "build_icnet_backbone": ("MODEL.RESNETS.NORM", RESNET, ("resnet.stem.", "resnet.res2.")),
    "build_timm_backbone": (
        "MODEL.TIMM.NORM",
        TIMM,
        ("model.conv1.", "model.bn1.", "model.layer1."),
    ),
    "build_timm_fpn_backbone": (
        "MODEL.TIMM.NORM",
        TIMM | FPN,
        ("bottom_up.model.conv1.", "bottom_up.model.bn1.", "bottom_up.model.layer1."),
    ),
}


def _cfg(name: str, norm: str, freeze_at: int) -> CfgNode:
    if "timm" in name:
        pytest.importorskip("timm", reason="the extra `models` is not installed")
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    key, keys, _ = BACKBONES[name]
    keys = keys | {key: norm, "MODEL.BACKBONE.NAME": name, "MODEL.BACKBONE.FREEZE_AT": freeze_at}
    cfg.merge_from_list([part for item in keys.items() for part in item])
    return cfg


def _build(name: str, norm: str, freeze_at: int) -> nn.Module:
    torch.manual_seed(0)
    cfg = _cfg(name, norm, freeze_at)
    return BACKBONE_REGISTRY.get(name)(cfg, ShapeSpec(channels=3)).train()


def _step(backbone: nn.Module) -> set[str]:
    """One training step; the names of the parameters that have a gradient."""
    torch.manual_seed(1)
    features = backbone(torch.randn(2, 3, 32, 32))
    # Squares, since the sum of normalised values does not depend on their scale.
    sum(feature.square().sum() for feature in features.values()).backward()
    return {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_are_absent_exactly_in_the_frozen_part(name: str, norm: str) -> None:
    frozen = BACKBONES[name][2]
    backbone, whole = _build(name, norm, 2), _build(name, norm, 0)
    everything = {parameter for parameter, _ in whole.named_parameters()}
    assert _step(whole) == everything
    assert _step(backbone) == {part for part in everything if not part.startswith(frozen)}
    assert all(any(part.startswith(prefix) for part in everything) for prefix in frozen[:1])


@pytest.mark.parametrize("name", BACKBONES)
def test_statistics_of_the_frozen_part_are_fixed(name: str) -> None:
    frozen = BACKBONES[name][2]
    backbone = _build(name, "BN", 2)
    before = {key: value.clone() for key, value in backbone.named_buffers()}
    _step(backbone)
    after = dict(backbone.named_buffers())
    means = {key for key in before if key.endswith("running_mean")}
    changed = {key for key in means if not torch.equal(before[key], after[key])}
    assert changed == {key for key in means if not key.startswith(frozen)}
    assert changed < means
    assert not any(module.training and _is_frozen_norm(module) for module in backbone.modules())


def _is_frozen_norm(module: nn.Module) -> bool:
    return isinstance(module, FrozenBatchNorm2d) and any(True for _ in module.parameters())


@pytest.mark.parametrize("name", BACKBONES)
def test_synchronised_norms_are_built_and_frozen(name: str) -> None:
    frozen = BACKBONES[name][2]
    # In training, they need processes on GPUs.
    modules = dict(_build(name, "SyncBN", 2).named_modules())
    synchronised = {key for key, module in modules.items() if "SyncB" in type(module).__name__}
    assert synchronised
    assert not any(f"{key}.".startswith(frozen) for key in synchronised)


@pytest.mark.parametrize("freeze_at", [1, 9])
def test_freezing_counts_levels_and_stops_at_the_last(freeze_at: int) -> None:
    backbone = _build("build_unet_backbone", "BN", freeze_at)
    learning = {name.split(".")[1] for name, p in backbone.named_parameters() if p.requires_grad}
    assert learning == ({"1", "2"} if freeze_at == 1 else set())


def test_a_frozen_level_takes_the_weights_of_one_that_learns() -> None:
    learning, frozen = (_build("build_unet_backbone", "BN", n) for n in (0, 2))
    missing = frozen.load_state_dict(learning.state_dict(), strict=False).missing_keys
    assert missing == []
    x = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        for key, value in learning.eval()(x).items():
            torch.testing.assert_close(frozen.eval()(x)[key], value)
