"""Label maps: values, classes, the data set declared in a config, the mapper."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from seg_projects import add_seg_projects_config
from seg_projects.data import SemanticMapper, declare_semantic_datasets
from seg_projects.data.label_maps import class_table, read_label_map
from seg_projects.errors import UserError
from seg_projects.evaluation import build_evaluator


def _save(path: Path, values: Any, dtype: Any = np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype=dtype)).save(path)
    return path


def test_values_are_classes_unless_a_map_says_otherwise(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", [[0, 2, 11]])
    table = class_table(3, value_map=None, ignore_label=11)
    assert read_label_map(path, table).tolist() == [[0, 2, 255]]


def test_value_map_goes_before_the_ignored_label(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", [[0, 255, 7]])
    table = class_table(2, value_map={255: 0, 0: 1, 7: 255}, ignore_label=255)
    assert read_label_map(path, table).tolist() == [[1, 0, 255]]


def test_sixteen_bits_are_read(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", [[7000, 0]], np.uint16)
    table = class_table(1, value_map={7000: 0, 0: 255}, ignore_label=255)
    assert read_label_map(path, table).tolist() == [[0, 255]]


def test_of_a_palette_image_the_indices_count(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0])
    image.save(tmp_path / "a.png")
    table = class_table(2, value_map=None, ignore_label=255)
    assert read_label_map(tmp_path / "a.png", table).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [([[0, 5, 9]], r"holds \[5, 9\], which is no class"), ([[[0, 0, 0]]], "has 3 channels")],
)
def test_wrong_label_map_is_refused(tmp_path: Path, values: Any, message: str) -> None:
    path = _save(tmp_path / "a.png", values)
    with pytest.raises(UserError, match=message):
        read_label_map(path, class_table(2, value_map=None, ignore_label=255))


def test_missing_label_map_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"absent\.png cannot be read"):
        read_label_map(tmp_path / "absent.png", class_table(2, value_map=None, ignore_label=255))


@pytest.mark.parametrize(
    ("num_classes", "value_map", "message"),
    [
        (0, None, "CLASSES has 0 names"),
        (256, None, "CLASSES has 256 names"),
        (2, {0: 2}, "sends 0 to 2; classes are 0 to 1"),
        (2, {-1: 0}, "the value -1"),
    ],
)
def test_wrong_table_is_refused(
    num_classes: int, value_map: dict[int, int] | None, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        class_table(num_classes, value_map=value_map, ignore_label=255)


@pytest.fixture
def cfg(tmp_path: Path) -> CfgNode:
    """Three images of 4 x 6 pixels, the left half of each of class 1, one column ignored."""
    for name in ("10", "2", "b"):
        _save(tmp_path / "images" / f"{name}.jpg", np.full((4, 6, 3), 100))
        _save(tmp_path / "labels" / f"{name}.png", [[9, 9, 9, 0, 0, 255]] * 4)
    cfg = get_cfg()
    add_seg_projects_config(cfg)
    cfg.DATASETS.ROOT = str(tmp_path)
    entry = {"NAME": "maps", "IMAGES": "images", "LABELS": "labels", "CLASSES": ["no", "yes"]}
    cfg.DATASETS.SEMANTIC = [entry | {"VALUE_MAP": {0: 0, 9: 1}}]
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("maps",)
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (4,), 4
    cfg.INPUT.RANDOM_FLIP = "none"
    return cfg


def test_declared_data_set_has_records_and_classes(cfg: CfgNode) -> None:
    declare_semantic_datasets(cfg)
    declare_semantic_datasets(cfg)
    records = DatasetCatalog.get("maps")
    assert [record["image_id"] for record in records] == ["10", "2", "b"]
    assert (records[0]["height"], records[0]["width"]) == (4, 6)
    assert records[1]["sem_seg_file_name"].endswith("labels/2.png")
    assert MetadataCatalog.get("maps").stuff_classes == ["no", "yes"]
    assert len({tuple(c) for c in MetadataCatalog.get("maps").stuff_colors}) == 2


def test_stems_choose_files_in_their_order(cfg: CfgNode) -> None:
    cfg.DATASETS.SEMANTIC[0]["STEMS"] = ["b", 2]
    declare_semantic_datasets(cfg)
    assert [record["image_id"] for record in DatasetCatalog.get("maps")] == ["b", "2"]


def test_mapper_gives_labels_in_training_alone(cfg: CfgNode) -> None:
    declare_semantic_datasets(cfg)
    cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE = 77
    record = DatasetCatalog.get("maps")[0]
    mapped = SemanticMapper(cfg, is_train=True)(record)
    assert mapped["image"].shape == (3, 4, 6)
    assert mapped["sem_seg"].dtype == torch.int64
    assert mapped["sem_seg"].tolist() == [[1, 1, 1, 0, 0, 77]] * 4
    assert "sem_seg" not in SemanticMapper(cfg, is_train=False)(record)


def test_label_map_of_another_size_is_refused(cfg: CfgNode, tmp_path: Path) -> None:
    declare_semantic_datasets(cfg)
    record = DatasetCatalog.get("maps")[0]
    _save(tmp_path / "labels" / "10.png", [[0, 0]])
    with pytest.raises(UserError, match=r"10.png has the size \(1, 2\), its image"):
        SemanticMapper(cfg, is_train=True)(record)


def test_evaluator_counts_what_is_labelled(cfg: CfgNode, tmp_path: Path) -> None:
    declare_semantic_datasets(cfg)
    evaluator = build_evaluator("maps", tmp_path)
    evaluator.reset()
    scores = torch.zeros(2, 4, 6)
    scores[1, :, :4] = 1  # one column too many, and nobody asks for the last
    evaluator.process([{"image_id": "2"}], [{"sem_seg": scores}])
    results = evaluator.evaluate()["sem_seg"]
    assert results["IoU-yes"] == pytest.approx(75)
    assert results["IoU-no"] == pytest.approx(50)
    assert results["mIoU"] == pytest.approx(62.5)


def test_surface_distances_are_in_the_spacing_of_the_data_set(cfg: CfgNode, tmp_path: Path) -> None:
    cfg.DATASETS.SEMANTIC[0]["SPACING"] = [2, 0.5]
    declare_semantic_datasets(cfg)
    evaluator = build_evaluator("maps", tmp_path, semantic_metrics=["surface_distance"])
    evaluator.reset()
    scores = torch.zeros(2, 4, 6)
    scores[1, :, :5] = 1  # two columns too many, of half a millimetre each
    input_ = SemanticMapper(cfg, is_train=False)(DatasetCatalog.get("maps")[1])
    evaluator.process([input_], [{"sem_seg": scores}])
    assert evaluator.evaluate()["sem_seg"]["HD-yes"] == pytest.approx(2 * 0.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"IMAGES": "absent"}, "absent is no folder"),
        ({"MASKS": "labels"}, "unknown key 'MASKS'"),
        ({"CLASSES": "no"}, "CLASSES is 'no'; it is a list"),
        ({"VALUE_MAP": {"a": 0}}, "all whole numbers"),
        ({"VALUE_MAP": {0: 3}}, "sends 0 to 3"),
        ({"SPACING": [0.5]}, r"'maps': SPACING is \[0.5\]; it is \[row, column\]"),
        ({"SPACING": [0.5, 0]}, "both above 0"),
    ],
)
def test_wrong_entry_is_refused(cfg: CfgNode, change: dict[str, Any], message: str) -> None:
    cfg.DATASETS.SEMANTIC[0].update(change)
    with pytest.raises(UserError, match=message):
        declare_semantic_datasets(cfg)


def test_entry_without_labels_is_refused(cfg: CfgNode) -> None:
    del cfg.DATASETS.SEMANTIC[0]["LABELS"]
    with pytest.raises(UserError, match=r"'maps' lacks \['LABELS'\]"):
        declare_semantic_datasets(cfg)


def test_image_without_label_map_is_refused(cfg: CfgNode, tmp_path: Path) -> None:
    (tmp_path / "labels" / "b.png").unlink()
    declare_semantic_datasets(cfg)
    with pytest.raises(UserError, match="labels has no file 'b'"):
        DatasetCatalog.get("maps")
