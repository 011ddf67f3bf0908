"""The semantic head of Panoptic FPN."""

from __future__ import annotations

import math

import pytest
import torch
from golden import Golden, weight_rule

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead, build_sem_seg_head

LEVELS = ["p2", "p3", "p4", "p5"]
SHAPES = {name: ShapeSpec(channels=6, stride=4 * 2**i) for i, name in enumerate(LEVELS)}


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden("sem_seg_fpn_head")


@pytest.fixture
def head(golden: Golden) -> SemSegFPNHead:
    head = SemSegFPNHead(
        SHAPES,
        num_classes=7,
        conv_dims=32,
        common_stride=4,
        norm="GN",
        loss_weight=0.5,
        ignore_value=255,
    )
    return weight_rule().fill(head, golden.params["seed"])


def recorded_features(golden: Golden) -> dict[str, torch.Tensor]:
    return {name: golden.input(name) for name in LEVELS}


def test_scores_are_the_recorded_ones(golden: Golden, head: SemSegFPNHead) -> None:
    head.eval()
    features = recorded_features(golden)
    golden.check("layers", head.layers(features))
    logits, losses = head(features)
    facts = golden.json("facts")
    assert losses == facts["eval_losses"]
    assert list(logits.shape) == facts["logits_shape"]
    golden.check("logits", logits[:, :, ::2, ::2])
    assert list(head.state_dict()) == facts["names"]


def test_losses_are_the_recorded_ones(golden: Golden, head: SemSegFPNHead) -> None:
    features, target = recorded_features(golden), golden.input("target")
    result, losses = head(features, target)
    assert result is golden.json("facts")["train_result"]
    golden.check_json("losses", {k: v.item() for k, v in losses.items()})
    _, losses = head(features, torch.full_like(target, 255))
    assert str(losses["loss_sem_seg"].item()) == golden.json("facts")["all_ignored"]


def test_ignored_pixels_have_no_loss() -> None:
    shape = {"p2": ShapeSpec(channels=1, stride=4)}
    head = SemSegFPNHead(shape, num_classes=2, conv_dims=1, common_stride=4, ignore_value=9)
    scores = torch.tensor([[[[0.0]], [[math.log(3)]]]])
    target = torch.full((1, 4, 4), 9)
    target[0, 0, 0] = 0
    # Softmax gives the labelled pixel the probabilities 1/4 and 3/4.
    loss = head.losses(scores, target)["loss_sem_seg"]
    assert loss.item() == pytest.approx(math.log(4))


def test_maps_finer_than_the_common_stride_are_not_upsampled() -> None:
    shape = {"p3": ShapeSpec(channels=1, stride=8), "p2": ShapeSpec(channels=1, stride=4)}
    head = SemSegFPNHead(shape, num_classes=2, conv_dims=1, common_stride=4)
    assert head.in_features == ["p2", "p3"]
    assert [len(head.p2), len(head.p3)] == [1, 2]


def test_config_chooses_the_feature_maps() -> None:
    cfg = get_cfg()
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["p3"]
    head = build_sem_seg_head(cfg, SHAPES)
    assert head.in_features == ["p3"]
    assert head.ignore_value == 255


def test_head_without_feature_maps_is_refused() -> None:
    cfg = get_cfg()
    cfg.MODEL.SEM_SEG_HEAD.IN_FEATURES = ["res7"]
    with pytest.raises(ValueError, match="IN_FEATURES"):
        build_sem_seg_head(cfg, SHAPES)
