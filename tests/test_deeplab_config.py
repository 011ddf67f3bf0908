"""The keys of DeepLab and Panoptic-DeepLab beside the recorded ones."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from detectron2.config import get_cfg
from seg_projects import add_seg_projects_config

RECORDED = Path(__file__).resolve().parents[2] / "shared" / "reference" / "projects_config.yaml"


@pytest.mark.parametrize("function", ["add_deeplab_config", "add_panoptic_deeplab_config"])
def test_keys_and_defaults_are_the_recorded_ones(function: str) -> None:
    if not RECORDED.is_file():
        pytest.skip("the recorded facts (../shared/reference) are absent")
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    # Ours stays SGD: the other models share the key.
    recorded = yaml.safe_load(RECORDED.read_text())[function]["added"]
    recorded.pop("SOLVER.OPTIMIZER", None)
    for key, value in recorded.items():
        node = cfg
        for part in key.split("."):
            node = node[part]
        assert node == value, key
        assert type(node) is type(value), key
