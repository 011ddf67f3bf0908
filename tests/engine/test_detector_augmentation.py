"""Detectors looked at in several sizes and mirrored, by TEST.AUG alone."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_configs import shrink, use_generated_data
from tiny_runs import REPOSITORY

from detectron2.modeling import DatasetMapperTTA
from seg_projects.engine import SegTrainer, load_config, prepare


@pytest.mark.parametrize("config", ["own/mask_rcnn", "own/cascade_mask_rcnn"])
def test_training_ends_with_augmented_figures_beside_the_plain_ones(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = load_config(REPOSITORY / "configs" / f"{config}.yaml")
    shrink(cfg)
    use_generated_data(cfg, tmp_path / f"tta_{config.replace('/', '_')}")
    cfg.merge_from_list(
        [
            *("TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (64, 96), "SOLVER.MAX_ITER", 1),
            *("SOLVER.STEPS", (), "OUTPUT_DIR", str(tmp_path / "run"), "TEST.EVAL_PERIOD", 0),
        ]
    )
    looks: list[tuple[int, int]] = []
    original = DatasetMapperTTA.__call__

    def recording(self: Any, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        augmented = original(self, inputs)
        looks.extend(tuple(one["image"].shape[1:]) for one in augmented)
        return augmented

    monkeypatch.setattr(DatasetMapperTTA, "__call__", recording)
    prepare(cfg, argparse.Namespace(config_file="", eval_only=False, resume=False))
    SegTrainer(cfg).train()
    # Two images in two sizes, each mirrored, too.
    assert sorted(looks) == [(64, 64)] * 4 + [(96, 96)] * 4
    run = tmp_path / "run"
    plain = json.loads((run / "evaluation.json").read_text())
    augmented = json.loads((run / "evaluation_tta.json").read_text())
    assert augmented.keys() == {"bbox_TTA", "segm_TTA"}
    assert augmented["segm_TTA"].keys() == plain["segm"].keys()
