"""Each semantic head of ours with each norm."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import seg_projects.modeling  # noqa: F401 - registers
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_sem_seg_head
from seg_projects import add_seg_projects_config

# name: strides of the maps that it takes
HEADS = {
    "FCNHead": [4, 8],
    "UNetHead": [4, 8],
    "AttentionUNetHead": [4, 8],
    "XceptionUNetHead": [2, 4],
    "ICNetHead": [4, 8, 16],
    "SETRNaiveHead": [16],
    "SETRPUPHead": [16],
    "SETRMLAHead": [16, 16],
    "SegFPNHead": [4, 8],
    "SegDeepLabV3PlusHead": [4, 8],
    "SegDeepLabV3Head": [8],
}


def _build(name: str, norm: str) -> nn.Module:
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    shapes = {f"map{i}": ShapeSpec(channels=32, stride=s) for i, s in enumerate(HEADS[name])}
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NAME, head.NORM, head.NUM_CLASSES, head.IN_FEATURES = name, norm, 3, list(shapes)
    head.CONVS_DIM = head.ASPP_CHANNELS = 64
    head.PROJECT_CHANNELS, head.COMMON_STRIDE = [32], HEADS[name][0]
    if name == "XceptionUNetHead":
        head.DECODER_CHANNELS = [32, 32]
    torch.manual_seed(0)
    return build_sem_seg_head(cfg, shapes).train()


@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
@pytest.mark.parametrize("name", HEADS)
def test_head_learns_with_the_norm(name: str, norm: str) -> None:
    head = _build(name, norm)
    before = {key: value.clone() for key, value in head.named_buffers()}
    features = {f"map{i}": torch.randn(2, 32, 32 // s, 32 // s) for i, s in enumerate(HEADS[name])}
    sum(head(features, torch.randint(0, 3, (2, 32, 32)))[1].values()).backward()
    assert {key for key, p in head.named_parameters() if p.grad is None} == set()
    changed = {key for key, value in head.named_buffers() if not torch.equal(value, before[key])}
    assert any("running_mean" in key for key in changed) == (norm == "BN")


@pytest.mark.parametrize("name", HEADS)
def test_synchronised_norms_are_built(name: str) -> None:
    # In training, they need processes on GPUs.
    kinds = {type(module).__name__ for module in _build(name, "SyncBN").modules()}
    assert any("SyncB" in kind for kind in kinds)
