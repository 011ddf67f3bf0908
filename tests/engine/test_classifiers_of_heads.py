"""Transfer to other classes, whatever the head: only what classifies begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_configs import build_or_skip, shrink
from tiny_runs import REPOSITORY

from detectron2.config import CfgNode
from seg_projects.engine import load_config, load_weights

# Per config, the parameters that classify, less weight and bias.
CLASSIFIERS = {
    "voc/fcn": {"sem_seg_head.score", "sem_seg_head.skips.0", "sem_seg_head.skips.1"},
    "membrane/unet": {"sem_seg_head.predictor"},
    "membrane/attention_unet": {"sem_seg_head.predictor"},
    "pets/xception_unet": {"sem_seg_head.predictor"},
    "voc/deeplabv3plus": {"sem_seg_head.predictor"},
    "cityscapes/deeplabv3_r103": {"sem_seg_head.predictor"},
    "voc/icnet": {"sem_seg_head.predictor", "sem_seg_head.guides.0", "sem_seg_head.guides.1"},
    "camvid/setr_pup_vit_tiny": set(),
}


def _cfg(config: str, classes: int) -> CfgNode:
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    head = cfg.MODEL.SEM_SEG_HEAD
    head.NUM_CLASSES, head.LOSSES = classes, [["cross_entropy", 1.0]]
    return cfg


@pytest.mark.parametrize("config", CLASSIFIERS)
def test_only_classifiers_start_anew(config: str, tmp_path: Path) -> None:
    trained = build_or_skip(_cfg(config, 7)).state_dict()
    torch.save({"model": trained}, tmp_path / "w.pth")
    cfg = _cfg(config, 5)
    cfg.MODEL.WEIGHTS = str(tmp_path / "w.pth")
    model = build_or_skip(cfg)
    load_weights(cfg, model, replace_classifier=True)
    state = model.state_dict()
    assert state.keys() == trained.keys()
    other = {name for name in state if not torch.equal(state[name], trained[name])}
    found = {name.rpartition(".")[0] for name in other}
    # SETR's decoder and its auxiliary heads end with a classifier each.
    expected = CLASSIFIERS[config] or {
        name for name in found if name.startswith(("sem_seg_head.decoder.", "auxiliary."))
    }
    assert found == expected
    assert all(state[name].shape[0] == 5 for name in other)
    assert any(name.startswith("sem_seg_head") for name in found)
