"""The box head."""

from __future__ import annotations

import pytest
import torch
from golden import Golden, weight_rule

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead, build_box_head

POOLED = ShapeSpec(channels=6, height=7, width=7)


def test_features_and_names_are_the_recorded_ones() -> None:
    golden = Golden("box_and_mask_heads")
    head = FastRCNNConvFCHead(POOLED, conv_dims=[5], fc_dims=[9, 8], conv_norm="")
    weight_rule().fill(head, golden.params["seed"])
    golden.check("box", head(golden.input("x")))
    facts = golden.json("facts")
    assert list(head.state_dict()) == facts["box_names"]
    assert head.output_shape == ShapeSpec(channels=facts["box_output_shape"])


def test_convolutions_alone_keep_the_grid() -> None:
    head = FastRCNNConvFCHead(POOLED, conv_dims=[4, 3], fc_dims=[], conv_norm="")
    assert head.output_shape == ShapeSpec(channels=3, height=7, width=7)
    assert head(torch.zeros(2, 6, 7, 7)).shape == (2, 3, 7, 7)


def test_normalised_convolutions_have_no_bias() -> None:
    head = FastRCNNConvFCHead(POOLED, conv_dims=[32], fc_dims=[], conv_norm="GN")
    assert list(head.state_dict()) == ["conv1.weight", "conv1.norm.weight", "conv1.norm.bias"]


def test_no_region_gives_no_feature() -> None:
    head = FastRCNNConvFCHead(POOLED, conv_dims=[5], fc_dims=[4])
    assert head(torch.zeros(0, 6, 7, 7)).shape == (0, 4)


def test_head_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="NUM_FC"):
        FastRCNNConvFCHead(POOLED, conv_dims=[], fc_dims=[])


def test_config_names_the_layers() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_CONV, cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = 1, 2
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC, cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 1, 3
    head = build_box_head(cfg, POOLED)
    assert list(head.state_dict()) == ["conv1.weight", "conv1.bias", "fc1.weight", "fc1.bias"]


def test_unknown_head_is_refused() -> None:
    cfg = get_cfg()
    cfg.MODEL.ROI_BOX_HEAD.NAME = "NoSuchHead"
    with pytest.raises(KeyError, match="NoSuchHead"):
        build_box_head(cfg, POOLED)
