"""Pictures of the training data of semantic, instance and panoptic configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import prepare_tiny_shapes, tiny_config, tool_main, write_config


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of four training scenes of 64 x 64 pixels."""
    return prepare_tiny_shapes(tmp_path_factory.mktemp("data"))


def _visualize(config: Path, output: Path, *options: str) -> int:
    arguments = ["--config-file", str(config), "--output", str(output)]
    return tool_main("visualize_data")([*arguments, *options])


def _panels(output: Path, caption: str) -> list[np.ndarray]:
    """The pictures of a folder, whose page shows each with ``caption``."""
    page = (output / "index.html").read_text()
    names = sorted(path.name for path in output.glob("*.png"))
    assert all(f'src="{name}"' in page and f"{name}: {caption}" in page for name in names)
    return [np.asarray(Image.open(output / name)) for name in names]


@pytest.mark.parametrize(
    ("model", "caption"),
    [
        ({}, "image | instances: "),
        ({"META_ARCHITECTURE": "SegPanopticDeepLab"}, "image | sem_seg | center | offset"),
    ],
)
def test_panoptic_data_shows_the_targets_of_the_model(root, tmp_path, model, caption):
    classes = {"SEM_SEG_HEAD": {"NUM_CLASSES": 6}} if model else {}
    content = tiny_config(root, tmp_path, MODEL={**model, **classes})
    config = write_config(tmp_path / "config.yaml", content)
    assert _visualize(config, tmp_path / "out", "--samples", "2", "--repeat", "2") == 0
    pictures = _panels(tmp_path / "out", caption)
    assert len(pictures) == 4
    # Panels, enlarged from 64 to 512 pixels, 8 pixels apart.
    panels = 4 if model else 3
    assert {picture.shape for picture in pictures} == {(512, panels * 520 - 8, 3)}


def _semantic_config(root: Path, tmp_path: Path) -> dict[str, Any]:
    entry = {
        "NAME": "labels",
        "IMAGES": "shapes/train",
        "LABELS": "shapes/train_labels",
        "CLASSES": ["a", "b"],
        "VALUE_MAP": {0: 0, 1: 1},
    }
    (root / "shapes/train_labels").mkdir(exist_ok=True)
    for image in (root / "shapes/train").iterdir():
        labels = np.tile(np.array([0, 255], np.uint8), (64, 32))
        Image.fromarray(labels).save(root / "shapes/train_labels" / f"{image.stem}.png")
    content = tiny_config(root, tmp_path, MODEL={"META_ARCHITECTURE": "SegSemanticSegmentor"})
    content["MODEL"] = {**content["MODEL"], "SEM_SEG_HEAD": {"NUM_CLASSES": 2}}
    content["DATASETS"] = {"ROOT": str(root), "SEMANTIC": [entry], "TRAIN": ["labels"], "TEST": []}
    return content


def test_label_maps_are_shown(root, tmp_path):
    config = write_config(tmp_path / "config.yaml", _semantic_config(root, tmp_path))
    assert _visualize(config, tmp_path / "out", "--samples", "3") == 0
    assert len(_panels(tmp_path / "out", "image | sem_seg")) == 3


@pytest.mark.parametrize("mask_format", ["polygon", "bitmask"])
def test_instances_are_shown_with_their_boxes(root, tmp_path, mask_format):
    entry = {
        "NAME": "objects",
        "IMAGES": "shapes/train",
        "INSTANCES_JSON": "shapes/annotations/instances_train.json",
    }
    content = tiny_config(root, tmp_path, INPUT={"MASK_FORMAT": mask_format})
    content["DATASETS"] = {"ROOT": str(root), "INSTANCES": [entry], "TRAIN": ["objects"]}
    content["DATASETS"]["TEST"] = []
    content["MODEL"] = {**content["MODEL"], "META_ARCHITECTURE": "GeneralizedRCNN"}
    if not (root / entry["INSTANCES_JSON"]).is_file():
        _write_instances(root)
    config = write_config(tmp_path / "config.yaml", content)
    assert _visualize(config, tmp_path / "out", "--samples", "1") == 0
    (picture,) = _panels(tmp_path / "out", "image | instances: 1")
    yellow = (picture[:, 520:] == (255, 255, 0)).all(axis=2)
    ys, xs = yellow.nonzero()
    # The box (8, 16) to (40, 48), enlarged by 8; flipped, it lies from 24 to 56.
    assert (ys.min() // 8, ys.max() // 8) == (16, 47)
    assert (xs.min() // 8, xs.max() // 8) in ((8, 39), (24, 55))


def _write_instances(root: Path) -> None:
    import json

    images = [
        {"id": i, "file_name": path.name, "height": 64, "width": 64}
        for i, path in enumerate(sorted((root / "shapes/train").iterdir()), start=1)
    ]
    corners = [8, 16, 40, 16, 40, 48, 8, 48]
    annotations = [
        {"id": image["id"], "image_id": image["id"], "category_id": 1, "iscrowd": 0}
        | {"bbox": [8, 16, 32, 32], "area": 1024, "segmentation": [corners]}
        for image in images
    ]
    categories = [{"id": i, "name": f"class {i}"} for i in (1, 2, 3)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = root / "shapes/annotations/instances_train.json"
    path.write_text(json.dumps(content))


def test_one_seed_gives_the_same_pictures(root, tmp_path):
    augmentations = [["rotation", {"angle": 90}], ["copy_paste", {}], ["noise", {"sigma": 9}]]
    content = tiny_config(root, tmp_path, INPUT={"AUGMENTATIONS": augmentations})
    config = write_config(tmp_path / "config.yaml", content)
    results = []
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert _visualize(config, tmp_path / name, "--samples", "1", "--seed", seed) == 0
        results.append(np.stack(_panels(tmp_path / name, "image")))
    assert np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples", "0"], "nothing to show"),
        (["DATASETS.TRAIN", "('absent',)"], "'absent' is not registered"),
        (["INPUT.AUGMENTATIONS", "['rotate']"], "'rotate', which is unknown"),
    ],
)
def test_a_mistake_is_one_line(root, tmp_path, capsys, options, message):
    config = write_config(tmp_path / "config.yaml", tiny_config(root, tmp_path))
    assert _visualize(config, tmp_path / "out", *options) == 2
    assert message in capsys.readouterr().err
