"""Detectron2's heads with the losses of the config."""

from __future__ import annotations

from math import ceil
from typing import Any

import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_sem_seg_head
from seg_projects import add_seg_projects_config
from seg_projects.errors import UserError
from seg_projects.modeling.semantic_heads import DeepLabV3Head, DeepLabV3PlusHead

SHAPES = {"res2": ShapeSpec(channels=6, stride=4), "res5": ShapeSpec(channels=8, stride=16)}
FEATURES = {
    "SegFPNHead": ["res2", "res5"],
    "SegDeepLabV3PlusHead": ["res2", "res5"],
    "SegDeepLabV3Head": ["res5"],
}
LOSSES = [["focal", 1.0], ["lovasz_softmax", 0.5]]


def _cfg(name: str, **head: Any) -> CfgNode:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    chosen = cfg.MODEL.SEM_SEG_HEAD
    chosen.NAME, chosen.IN_FEATURES, chosen.NUM_CLASSES = name, FEATURES[name], 3
    chosen.CONVS_DIM = chosen.ASPP_CHANNELS = 32
    chosen.PROJECT_CHANNELS, chosen.ASPP_DROPOUT = [32], 0.0
    chosen.NORM, chosen.LOSSES = "GN", LOSSES
    chosen.COMMON_STRIDE = 16 if name == "SegDeepLabV3Head" else 4
    for key, value in head.items():
        chosen[key] = value
    return cfg


def _features(height: int, width: int) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(2, s.channels or 0, ceil(height / stride), ceil(width / stride))
        for name, s in SHAPES.items()
        if (stride := s.stride or 1)
    }


@pytest.mark.parametrize("name", FEATURES)
def test_losses_are_those_of_the_config_at_any_size(name: str) -> None:
    # SemSegFPNHead doubles maps: its sizes are multiples of the coarsest stride.
    size = (32, 48) if name == "SegFPNHead" else (37, 51)
    head = build_sem_seg_head(_cfg(name, LOSS_WEIGHT=0.5), dict(SHAPES))
    nothing, losses = head(_features(*size), torch.randint(0, 3, (2, *size)))
    assert nothing is None
    assert losses.keys() == {"loss_sem_seg_focal", "loss_sem_seg_lovasz_softmax"}
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    with torch.no_grad():
        logits, none = head.eval()(_features(*size))
    stride = head.common_stride
    assert (logits.shape[-2:], none) == (tuple(stride * ceil(n / stride) for n in size), {})


@pytest.mark.parametrize("name", FEATURES)
def test_parameters_are_those_of_the_head_it_extends(name: str) -> None:
    theirs = {
        "SegFPNHead": lambda cfg: build_sem_seg_head(_renamed(cfg), dict(SHAPES)),
        "SegDeepLabV3PlusHead": lambda cfg: DeepLabV3PlusHead(cfg, dict(SHAPES)),
        "SegDeepLabV3Head": lambda cfg: DeepLabV3Head(cfg, dict(SHAPES)),
    }[name](_cfg(name))
    ours = build_sem_seg_head(_cfg(name), dict(SHAPES))
    ours.load_state_dict(theirs.state_dict())
    features = _features(32, 32)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(features)[0], theirs.eval()(features)[0])


def _renamed(cfg: CfgNode) -> CfgNode:
    cfg.MODEL.SEM_SEG_HEAD.NAME = "SemSegFPNHead"
    return cfg


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"IN_FEATURES": ["res9"]}, r"'res9'; the backbone gives res2 \(stride 4\)"),
        ({"LOSSES": [["dize", 1.0]]}, "unknown loss 'dize'"),
    ],
)
def test_wrong_config_is_refused(name: str, head: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_sem_seg_head(_cfg(name, **head), dict(SHAPES))
