"""Models from configs, and settings that concern whole models."""

from __future__ import annotations

import pytest
import torch

from detectron2.config import CfgNode, get_cfg
from detectron2.modeling.meta_arch import PanopticFPN, ProposalNetwork, build_model


def tiny_panoptic_config() -> CfgNode:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "PanopticFPN"
    cfg.MODEL.MASK_ON = True
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    resnets = cfg.MODEL.RESNETS
    resnets.RES2_OUT_CHANNELS, resnets.STEM_OUT_CHANNELS, resnets.WIDTH_PER_GROUP = 8, 8, 2
    resnets.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 32
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    box = cfg.MODEL.ROI_BOX_HEAD
    box.NAME, box.NUM_FC, box.FC_DIM, box.POOLER_RESOLUTION = "FastRCNNConvFCHead", 1, 8, 7
    cfg.MODEL.ROI_MASK_HEAD.CONV_DIM = 8
    cfg.MODEL.SEM_SEG_HEAD.CONVS_DIM = 32
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = 4
    return cfg


def test_config_sets_the_thresholds_of_the_merger() -> None:
    cfg = tiny_panoptic_config()
    cfg.MODEL.PANOPTIC_FPN.COMBINE.OVERLAP_THRESH = 0.25
    cfg.MODEL.PANOPTIC_FPN.COMBINE.STUFF_AREA_LIMIT = 7
    cfg.MODEL.PANOPTIC_FPN.COMBINE.INSTANCES_CONFIDENCE_THRESH = 0.75
    model = build_model(cfg)
    assert isinstance(model, PanopticFPN)
    assert model.combine_overlap_thresh == 0.25
    assert model.combine_stuff_area_thresh == 7
    assert model.combine_instances_score_thresh == 0.75


def test_instance_loss_weight_scales_box_and_mask_losses() -> None:
    cfg = tiny_panoptic_config()
    cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 0.5
    heads = build_model(cfg).roi_heads
    # Upstream's dict has no entry for loss_cls either.
    assert heads.box_predictor.loss_weight == {"loss_box_reg": 0.5}
    assert heads.mask_head.loss_weight == 0.5


def test_instance_loss_weight_reaches_every_stage_of_a_cascade() -> None:
    cfg = tiny_panoptic_config()
    cfg.MODEL.ROI_HEADS.NAME = "CascadeROIHeads"
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    cfg.MODEL.PANOPTIC_FPN.INSTANCE_LOSS_WEIGHT = 0.5
    predictors = build_model(cfg).roi_heads.box_predictor
    assert [x.loss_weight["loss_box_reg"] for x in predictors] == [0.5] * 3


def test_disabled_merger_warns(caplog: pytest.LogCaptureFixture) -> None:
    cfg = tiny_panoptic_config()
    cfg.MODEL.PANOPTIC_FPN.COMBINE.ENABLED = False
    build_model(cfg)
    assert "do_postprocess=False" in caplog.text


def test_proposal_network_is_built() -> None:
    cfg = tiny_panoptic_config()
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    model = build_model(cfg)
    assert isinstance(model, ProposalNetwork)
    assert model.device == torch.device("cpu")


def test_unknown_model_is_refused() -> None:
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "NoSuchModel"
    with pytest.raises(KeyError, match="NoSuchModel"):
        build_model(cfg)
