"""Which weights and categories a prediction takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import tiny_config, write_config

from detectron2.config import CfgNode
from seg_projects.engine import load_config
from seg_projects.engine.predictor import PanopticPredictor, find_categories, find_weights
from seg_projects.errors import UserError


def _config(root: Path, output: Path, **parts: Any) -> CfgNode:
    output.mkdir(exist_ok=True)
    return load_config(write_config(output / "config.yaml", tiny_config(root, output, **parts)))


def _touch_weights(output: Path, name: str = "model_final.pth") -> str:
    output.mkdir(exist_ok=True)
    (output / name).touch()
    return str(output / name)


def test_last_checkpoint_wins_over_the_weights_of_the_start(tmp_path: Path) -> None:
    start = _touch_weights(tmp_path / "start", "pretrained.pth")
    cfg = _config(tmp_path, tmp_path / "out", MODEL={"WEIGHTS": start})
    assert find_weights(cfg) == start
    trained = _touch_weights(tmp_path / "out")
    (tmp_path / "out" / "last_checkpoint").write_text("model_final.pth\n")
    assert find_weights(cfg) == trained


def test_weights_of_the_command_line_win(tmp_path: Path) -> None:
    _touch_weights(tmp_path / "out")
    (tmp_path / "out" / "last_checkpoint").write_text("model_final.pth")
    chosen = _touch_weights(tmp_path / "other")
    cfg = _config(tmp_path, tmp_path / "out", MODEL={"WEIGHTS": chosen})
    assert find_weights(cfg, ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", chosen]) == chosen


def test_weights_behind_a_url_are_left_to_the_checkpointer(tmp_path: Path) -> None:
    url = "https://example.org/model.pth"
    assert find_weights(_config(tmp_path, tmp_path / "out", MODEL={"WEIGHTS": url})) == url


def test_untrained_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out holds no checkpoint: train first, or name MODEL"):
        find_weights(_config(tmp_path, tmp_path / "out"))


def test_missing_weights_are_named(tmp_path: Path) -> None:
    cfg = _config(tmp_path, tmp_path / "out", MODEL={"WEIGHTS": "absent.pth"})
    with pytest.raises(UserError, match=r"The weights absent\.pth do not exist"):
        find_weights(cfg)


def _write_categories(folder: Path, name: str, *, things: int = 3) -> None:
    records = [{"id": i, "name": f"{name}{i}", "isthing": 1, "color": [1, 2, 3]} for i in range(9)]
    content = {
        "categories": records,
        "thing_ids": {i + 1: i for i in range(things)},
        "stuff_ids": {i: i for i in range(4)},
    }
    folder.mkdir(exist_ok=True)
    (folder / "categories.json").write_text(json.dumps(content))


def test_categories_beside_the_weights_win(tmp_path: Path) -> None:
    weights = _touch_weights(tmp_path / "weights")
    cfg = _config(tmp_path, tmp_path / "out", MODEL={"WEIGHTS": weights})
    _write_categories(tmp_path / "out", "out")
    assert find_categories(cfg).records[0]["name"] == "out0"
    _write_categories(tmp_path / "weights", "weights")
    assert find_categories(cfg).records[0]["name"] == "weights0"


def test_categories_come_from_the_data_set_where_no_file_is(
    tiny_root: Path, tmp_path: Path
) -> None:
    categories = find_categories(_config(tiny_root, tmp_path / "out"))
    assert [c["name"] for c in categories.records] == [
        "disc",
        "box",
        "star",
        "sky",
        "grass",
        "water",
    ]


def test_categories_that_are_nowhere_are_a_mistake(tmp_path: Path) -> None:
    nothing = {"PANOPTIC": [], "TRAIN": [], "TEST": []}
    with pytest.raises(UserError, match=r"classes are unknown: .*out/categories\.json"):
        find_categories(_config(tmp_path, tmp_path / "out", DATASETS=nothing))


def test_as_many_categories_as_classes(tmp_path: Path) -> None:
    cfg = _config(tmp_path, tmp_path / "out")
    _write_categories(tmp_path / "out", "out", things=2)
    with pytest.raises(UserError, match=r"ROI_HEADS\.NUM_CLASSES is 3, but .*categories are 2"):
        find_categories(cfg)


def test_a_model_without_panoptic_output_is_named(tmp_path: Path) -> None:
    cfg = _config(tmp_path, tmp_path / "out", MODEL={"META_ARCHITECTURE": "GeneralizedRCNN"})
    with pytest.raises(UserError, match="'GeneralizedRCNN'; a panoptic prediction needs"):
        PanopticPredictor(cfg)
