"""Panoptic FPN beside Detectron2's own, and its losses where there is little to learn from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from tiny_runs import tiny_config, write_config
from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Instances
from detectron2.utils.events import EventStorage
from seg_projects.engine import load_config

VOID = 255


@pytest.fixture(scope="module")
def cfg(tmp_path_factory: pytest.TempPathFactory) -> CfgNode:
    folder = tmp_path_factory.mktemp("config")
    # Wide enough that untrained detections differ.
    resnet = {"DEPTH": 18, "STEM_OUT_CHANNELS": 64, "RES2_OUT_CHANNELS": 64, "WIDTH_PER_GROUP": 64}
    content = tiny_config(folder, folder, MODEL={"RESNETS": resnet})
    return load_config(write_config(folder / "config.yaml", content))


def _build(cfg: CfgNode, name: str) -> nn.Module:
    cfg = cfg.clone()
    cfg.MODEL.META_ARCHITECTURE = name
    torch.manual_seed(0)
    return build_model(cfg)


def _image(height: int, width: int) -> dict[str, Any]:
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    return {"image": image, "height": height, "width": width}


def _example(height: int, width: int, *, things: int, void: bool) -> dict[str, Any]:
    """A training input; the things are squares of 16 pixels along the diagonal."""
    masks = torch.zeros(things, height, width, dtype=torch.bool)
    for row, mask in enumerate(masks):
        mask[8 * row : 8 * row + 16, 8 * row : 8 * row + 16] = True
    instances = Instances((height, width))
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    instances.gt_classes = torch.arange(things) % 3
    labels = torch.full((height, width), VOID) if void else torch.arange(width) % 4
    example = {"instances": instances, "sem_seg": labels.expand(height, width).clone()}
    return _image(height, width) | example


def _losses(model: nn.Module, batch: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    model.train()
    with EventStorage():
        return model(list(batch))


def _without_gradient(model: nn.Module) -> set[str]:
    return {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.any())
    }


def test_parameters_are_those_of_panoptic_fpn(cfg: CfgNode) -> None:
    ours, theirs = _build(cfg, "SegPanopticFPN"), _build(cfg, "PanopticFPN")
    shapes = {name: tuple(value.shape) for name, value in theirs.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in ours.state_dict().items()} == shapes


@pytest.fixture(scope="module")
def both(cfg: CfgNode) -> tuple[nn.Module, nn.Module]:
    """Ours and Detectron2's model with the same weights, boxes large and of spread scores."""
    cfg = cfg.clone()
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 60
    cfg.MODEL.RPN.NMS_THRESH = 0.9
    ours, theirs = _build(cfg, "SegPanopticFPN"), _build(cfg, "PanopticFPN")
    torch.manual_seed(3)
    for name, parameter in ours.named_parameters():
        if any(part in name for part in ("box_predictor", "mask_head.predictor", "anchor_deltas")):
            nn.init.normal_(parameter, std=0.02 if "cls_score" in name else 0.3)
    theirs.load_state_dict(ours.state_dict())
    return ours.eval(), theirs.eval()


@pytest.mark.parametrize("sizes", [[(64, 64)], [(48, 80), (70, 33)]])
@torch.no_grad()
def test_results_equal_those_of_panoptic_fpn(
    both: tuple[nn.Module, nn.Module], sizes: list[tuple[int, int]]
) -> None:
    ours, theirs = both
    batch = [_image(*size) | {"height": 2 * size[0], "width": size[1] + 5} for size in sizes]
    for got, wanted in zip(ours(batch), theirs(batch), strict=True):
        assert got.keys() == wanted.keys()
        assert torch.equal(got["sem_seg"], wanted["sem_seg"])
        for field, value in wanted["instances"].get_fields().items():
            value, mine = (getattr(v, "tensor", v) for v in (value, got["instances"].get(field)))
            assert torch.equal(mine, value), field
        assert torch.equal(got["panoptic_seg"][0], wanted["panoptic_seg"][0])
        assert got["panoptic_seg"][1] == wanted["panoptic_seg"][1]
        # Otherwise the comparison shows nothing: overlaps that lose and survive, and stuff.
        assert len(got["instances"]) > 10
        assert len(got["instances"].scores.unique()) == len(got["instances"])  # a defined order
        kinds = [segment["isthing"] for segment in got["panoptic_seg"][1]]
        assert 3 < sum(kinds) < len(got["instances"])
        assert not all(kinds)


@torch.no_grad()
def test_without_postprocessing_detections_and_logits_come_raw(
    both: tuple[nn.Module, nn.Module],
) -> None:
    detections, logits = both[0].inference([_image(40, 64)], do_postprocess=False)
    # Padded to the stride of the coarsest level that the semantic head and the FPN share, 32.
    assert logits.shape == (1, 4, 64, 64)
    assert detections[0].image_size == (40, 64)
    # Masks at the resolution of the mask head.
    assert detections[0].pred_masks.shape[1:] == (1, 28, 28)


@torch.no_grad()
def test_size_wanted_defaults_to_the_size_given(both: tuple[nn.Module, nn.Module]) -> None:
    (result,) = both[0]([{"image": _image(40, 56)["image"]}])
    assert result["panoptic_seg"][0].shape == (40, 56)
    assert result["panoptic_seg"][0].dtype == torch.int32


@torch.no_grad()
def test_image_without_detections_has_stuff_alone(cfg: CfgNode) -> None:
    cfg = cfg.clone()
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = 1.0
    (result,) = _build(cfg, "SegPanopticFPN").eval()([_image(64, 64)])
    assert len(result["instances"]) == 0
    assert not any(segment["isthing"] for segment in result["panoptic_seg"][1])


def test_training_losses_equal_those_of_panoptic_fpn(cfg: CfgNode) -> None:
    batch = [_example(64, 64, things=3, void=False), _example(48, 80, things=0, void=True)]
    losses = []
    for name in ("SegPanopticFPN", "PanopticFPN"):
        model = _build(cfg, name)
        torch.manual_seed(5)  # of the sampling of proposals
        losses.append({key: value.item() for key, value in _losses(model, batch).items()})
    assert losses[0] == losses[1]
    assert losses[0].keys() == {
        *("loss_sem_seg", "loss_rpn_cls", "loss_rpn_loc"),
        *("loss_cls", "loss_box_reg", "loss_mask"),
    }


def test_gradients_reach_every_parameter(cfg: CfgNode) -> None:
    model = _build(cfg, "SegPanopticFPN")
    # Two sizes, one image without instances, one all void: each loss still has what it needs.
    batch = [_example(64, 64, things=3, void=True), _example(48, 80, things=0, void=False)]
    losses = _losses(model, batch)
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert _without_gradient(model) == set()


@pytest.mark.parametrize("images", [1, 2])
def test_batch_all_void_without_instances_gives_finite_losses(cfg: CfgNode, images: int) -> None:
    model = _build(cfg, "SegPanopticFPN")
    losses = _losses(model, [_example(64, 64, things=0, void=True)] * images)
    assert losses["loss_sem_seg"].item() == 0
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    # Every parameter has a gradient, as training on several GPUs asks for, and it is finite.
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert not gradients["sem_seg_head.predictor.weight"].any()
    # The background still teaches the classifiers.
    assert gradients["roi_heads.box_predictor.cls_score.weight"].any()


def test_a_loss_that_diverges_stays_visible(cfg: CfgNode) -> None:
    model = _build(cfg, "SegPanopticFPN")
    nn.init.constant_(model.sem_seg_head.predictor.bias, float("nan"))
    losses = _losses(model, [_example(64, 64, things=1, void=False)])
    assert losses["loss_sem_seg"].isnan()


def _learned(cfg: CfgNode) -> nn.Module:
    cfg = cfg.clone()
    cfg.MODEL.PANOPTIC_FPN.LEARN_BALANCE = True
    return _build(cfg, "SegPanopticFPN")


def test_learned_balance_starts_from_the_fixed_weights(cfg: CfgNode) -> None:
    # Regions are drawn at random: each model draws the same.
    batch = [_example(64, 64, things=2, void=False)]
    losses = []
    for model in (_build(cfg, "SegPanopticFPN"), _learned(cfg)):
        torch.manual_seed(1)
        losses.append(_losses(model, batch))
    fixed, learned = losses
    assert learned.pop("loss_balance") == 0
    assert {n: x.item() for n, x in learned.items()} == {n: x.item() for n, x in fixed.items()}


def test_learned_balance_is_saved(cfg: CfgNode) -> None:
    extra = _learned(cfg).state_dict().keys() - _build(cfg, "SegPanopticFPN").state_dict().keys()
    assert extra == {"balance.log_variances"}
