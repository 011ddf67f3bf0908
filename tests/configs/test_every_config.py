"""Each config that can be run: made tiny, it builds, learns for a step and predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_configs import SIZE, build_or_skip, shrink, use_generated_data
from tiny_runs import REPOSITORY

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage
from seg_projects.data import declare_all
from seg_projects.engine import SegTrainer, load_config
from seg_projects.engine.setup import _check_class_counts

CONFIGS = REPOSITORY / "configs"
LEAVES = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for path in CONFIGS.rglob("*.yaml")
    if not path.stem.lower().startswith("base")
)


def _tiny(leaf: str, root: Path) -> CfgNode:
    cfg = load_config(CONFIGS / f"{leaf}.yaml")
    shrink(cfg)
    use_generated_data(cfg, root / leaf.replace("/", "_"))
    declare_all(cfg)
    return cfg


@pytest.mark.parametrize("leaf", LEAVES)
def test_config_builds_learns_and_predicts(leaf: str, tmp_path: Path) -> None:
    cfg = _tiny(leaf, tmp_path)
    model = build_or_skip(cfg)
    before = [p.detach().clone() for p in model.parameters() if p.requires_grad]
    optimizer = SegTrainer.build_optimizer(cfg, model)
    batch = next(iter(SegTrainer.build_train_loader(cfg)))
    with EventStorage():
        losses = _losses_and_gradients(model, batch)
    assert losses
    assert all(loss.isfinite() for loss in losses.values()), losses
    optimizer.step()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    after = [p for p in model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))

    with torch.no_grad():
        loader = SegTrainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
        (output,) = model.eval()(next(iter(loader)))
    _check_output(cfg, output)


def _losses_and_gradients(
    model: torch.nn.Module, batch: list[dict[str, Any]]
) -> dict[str, torch.Tensor]:
    losses = model.train()(batch)
    try:
        sum(losses.values()).backward()
    except NotImplementedError as error:
        if "Deformable Conv is not supported on CPUs" in str(error):
            pytest.skip("the installed Detectron2 has no deformable convolution on the CPU")
        raise
    return losses


def _check_output(cfg: CfgNode, output: dict[str, Any]) -> None:
    architecture = cfg.MODEL.META_ARCHITECTURE
    wanted = {"instances"}
    if "Semantic" in architecture:
        wanted = {"sem_seg"}
    elif "Panoptic" in architecture:
        wanted = {"sem_seg", "panoptic_seg"}
    assert wanted <= output.keys()
    if "sem_seg" in output:
        assert output["sem_seg"].shape == (cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, SIZE, SIZE)
        assert output["sem_seg"].isfinite().all()
    if "panoptic_seg" in output:
        assert output["panoptic_seg"][0].shape == (SIZE, SIZE)
    if "instances" in output:
        instances = output["instances"]
        assert instances.image_size == (SIZE, SIZE)
        assert instances.pred_masks.shape[1:] == (SIZE, SIZE)
        assert len(instances.pred_classes) == len(instances.scores) == len(instances)


@pytest.mark.parametrize("leaf", LEAVES)
def test_data_sets_are_declared_or_known_and_have_as_many_classes(leaf: str) -> None:
    cfg = load_config(CONFIGS / f"{leaf}.yaml")
    lists = [value for value in cfg.DATASETS.values() if isinstance(value, list)]
    declared = {entry["NAME"]: entry for entries in lists for entry in entries}
    for name in {*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST}:
        if name not in declared:
            assert name in DatasetCatalog.list()
            _check_class_counts(cfg, name)
        elif "CLASSES" in declared[name] and "Semantic" in cfg.MODEL.META_ARCHITECTURE:
            assert len(declared[name]["CLASSES"]) == cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES


def test_there_are_configs() -> None:
    assert {"quickstart/panoptic_fpn_shapes", "voc/fcn", "own/cascade_mask_rcnn"} <= set(LEAVES)
