"""Parameters without a gradient are named, with the remedy."""

from __future__ import annotations

import pytest
import torch
from tiny_configs import unet_config
from torch import nn

from detectron2.config import CfgNode
from detectron2.modeling import build_model
from seg_projects.engine.unreached import check_gradients
from seg_projects.errors import UserError

CHOICE = {"MODEL.SEM_SEG_HEAD.NAME": "FCNHead", "MODEL.SEM_SEG_HEAD.IN_FEATURES": ["down0"]}


def _after_a_step(cfg: CfgNode) -> nn.Module:
    model = build_model(cfg).train()
    image, labels = torch.rand(3, 16, 16), torch.zeros(16, 16, dtype=torch.long)
    sum(model([{"image": image, "sem_seg": labels}]).values()).backward()
    return model


def test_one_process_is_warned_of_maps_that_no_head_reads(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cfg = unet_config(**CHOICE)
    check_gradients(cfg, _after_a_step(cfg))
    assert "that no loss reaches (12): backbone.levels.1, backbone.levels.2. No" in caplog.text
    assert "reads the backbone's feature maps down1, down2: add them to" in caplog.text


def test_several_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    cfg = unet_config()
    model = _after_a_step(cfg)
    check_gradients(cfg, model)
    model.sem_seg_head.register_parameter("scale", nn.Parameter(torch.ones(1)))
    with pytest.raises(
        UserError,
        match=r"no loss reaches \(1\): sem_seg_head.scale. Parameters that are not to",
    ):
        check_gradients(cfg, model)


def test_what_is_frozen_or_supervised_is_no_matter(caplog: pytest.LogCaptureFixture) -> None:
    cfg = unet_config(**CHOICE)
    model = _after_a_step(cfg)
    model.backbone.levels[1:].requires_grad_(False)
    check_gradients(cfg, model)
    cfg = unet_config(**CHOICE, **{"MODEL.SEM_SEG_HEAD.AUXILIARY": [["down2", 0.4]]})
    check_gradients(cfg, _after_a_step(cfg))
    assert not caplog.text
