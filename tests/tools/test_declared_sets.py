"""Each way to declare a data set in the config, through every tool, from training to report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import REPOSITORY, TINY_MODEL, tool_main, write_config

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from seg_projects.data.panoptic_ids import rgb_from_ids

SIZE = 64
NAME = "declared_squares"
KINDS = ("PANOPTIC", "SEMANTIC", "CLASS_MASKS", "INSTANCES", "INSTANCE_MASKS")
ENTRIES: dict[str, dict[str, Any]] = {
    "PANOPTIC": {"PANOPTIC_JSON": "panoptic.json", "PANOPTIC_MASKS": "panoptic"},
    "SEMANTIC": {"LABELS": "labels", "CLASSES": ["rest", "square"]},
    "CLASS_MASKS": {"MASKS": "classes", "CLASSES": ["square", "left"]},
    "INSTANCES": {"INSTANCES_JSON": "instances.json"},
    "INSTANCE_MASKS": {"MASKS": "objects", "CLASS": "square"},
}
ARCHITECTURES = {
    "PANOPTIC": ("base_panoptic_fpn.yaml", "SegPanopticFPN"),
    "SEMANTIC": ("base_semantic.yaml", "SegSemanticSegmentor"),
    "CLASS_MASKS": ("base_semantic.yaml", "SegSemanticSegmentor"),
    "INSTANCES": ("base_mask_rcnn.yaml", "GeneralizedRCNN"),
    "INSTANCE_MASKS": ("base_mask_rcnn.yaml", "GeneralizedRCNN"),
}
INSPECTED = {
    "PANOPTIC": ["panoptic.json", "--images", "images", "--masks", "panoptic"],
    "SEMANTIC": ["images", "--labels", "labels", "--num-classes", "2"],
    "CLASS_MASKS": ["images", "--class-masks", "classes", "--classes", "square,left"],
    "INSTANCES": ["instances.json", "--images", "images"],
    "INSTANCE_MASKS": ["objects", "--images", "images", "--tool", "instance-maps"],
}


def _write_data(root: Path) -> None:
    """Two images of a bright square, annotated in each form."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    segmented: list[dict[str, Any]] = []
    for number in range(2):
        left = 8 + 24 * number
        square = np.zeros((SIZE, SIZE), np.uint8)
        square[8:24, left : left + 16] = 1
        noise = np.random.default_rng(number).integers(0, 40, (SIZE, SIZE, 3))
        parts = {
            "images": (square[..., None] * 180 + noise).astype(np.uint8),
            "labels": square,
            "objects": square * np.uint16(300),
            "classes/square": square * np.uint8(255),
            "classes/left": (np.arange(SIZE) < SIZE // 2) * np.ones((SIZE, 1), np.uint8),
            "panoptic": rgb_from_ids(square.astype(np.int32) * 299 + 1),
        }
        for folder, pixels in parts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": SIZE, "width": SIZE})
        corners = [left, 8, left + 16, 8, left + 16, 24, left, 24]
        shape = {"bbox": [left, 8, 16, 16], "area": 256, "segmentation": [corners]}
        annotations.append({"id": number, "image_id": number, "category_id": 7, **shape})
        segments = [{"id": 1, "category_id": 9}, {"id": 300, "category_id": 7}]
        segmented.append(
            {"image_id": number, "file_name": f"{number}.png", "segments_info": segments}
        )
    categories = [{"id": 7, "name": "square", "isthing": 1}, {"id": 9, "name": "x", "isthing": 0}]
    for name, rows, listed in (
        ("instances.json", annotations, categories[:1]),
        ("panoptic.json", segmented, categories),
    ):
        content = {"images": images, "annotations": rows, "categories": listed}
        (root / name).write_text(json.dumps(content))


def _config(kind: str, root: Path, output: Path) -> dict[str, Any]:
    base, architecture = ARCHITECTURES[kind]
    model: dict[str, Any] = {"META_ARCHITECTURE": architecture, "DEVICE": "cpu"}
    head = {**TINY_MODEL["SEM_SEG_HEAD"], "NUM_CLASSES": 2}
    if architecture == "SegSemanticSegmentor":
        model |= {"UNET": {"CHANNELS": [8, 8, 8]}, "BACKBONE": {"FREEZE_AT": 0}}
        head = {"NUM_CLASSES": 2, "IN_FEATURES": ["down0", "down1", "down2"]}
        if kind == "CLASS_MASKS":
            head["LOSSES"] = [["sigmoid_cross_entropy", 1.0], ["lovasz_hinge", 1.0]]
    else:
        model = {**TINY_MODEL, **model, "ROI_HEADS": {**TINY_MODEL["ROI_HEADS"], "NUM_CLASSES": 1}}
    sizes = dict.fromkeys(("MIN_SIZE_TEST", "MAX_SIZE_TEST", "MAX_SIZE_TRAIN"), SIZE)
    entry = {"NAME": NAME, "IMAGES": "images", **ENTRIES[kind]}
    return {
        "_BASE_": str(REPOSITORY / "configs" / base),
        "DATASETS": {"ROOT": str(root), kind: [entry], "TRAIN": [NAME], "TEST": [NAME]},
        "MODEL": {**model, "SEM_SEG_HEAD": head},
        "INPUT": {**sizes, "MIN_SIZE_TRAIN": [SIZE], "MASK_FORMAT": "bitmask"},
        "SOLVER": {"IMS_PER_BATCH": 2, "MAX_ITER": 1, "STEPS": [], "WARMUP_ITERS": 0},
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(output),
    }


@pytest.mark.parametrize("kind", KINDS)
def test_every_tool_takes_the_data_set(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, output = tmp_path / "data", tmp_path / "run"
    _write_data(root)
    first = write_config(tmp_path / "config.yaml", _config(kind, root, output))
    assert tool_main("train_net")(["--config-file", str(first)]) == 0
    trained = json.loads((output / "evaluation.json").read_text())
    config = ["--config-file", str(output / "config.yaml")]
    weights = ["MODEL.WEIGHTS", str(output / "model_final.pth")]
    (output / "evaluation.json").unlink()
    assert tool_main("train_net")([*config, "--eval-only", *weights]) == 0
    assert json.loads((output / "evaluation.json").read_text()) == trained
    pictures = ["--input", str(root / "images"), "--output", str(tmp_path / "predictions")]
    gone = ["--opts", "DATASETS.ROOT", str(tmp_path / "gone")]
    assert tool_main("predict")([*config, *pictures, *gone]) == 0
    assert len(list((tmp_path / "predictions" / "overlays").iterdir())) == 2
    assert tool_main("report")(config) == 0
    assert len(list((output / "report").glob("*.png"))) == 2
    assert tool_main("visualize_data")([*config, "--output", str(tmp_path / "sheet")]) == 0
    assert len(list((tmp_path / "sheet").glob("*.png"))) == 2
    capsys.readouterr()
    arguments = [str(root / part) if (root / part).exists() else part for part in INSPECTED[kind]]
    assert tool_main("inspect_data")(arguments) == 0
    assert "No defects found." in capsys.readouterr().out


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[str]:
    _write_data(tmp_path / "data")
    content = json.loads((tmp_path / "data" / "instances.json").read_text())
    for number, annotation in enumerate(content["annotations"], start=1):
        annotation |= {"id": number, "iscrowd": 0}
    del content["annotations"][0]["segmentation"]
    (tmp_path / "data" / "instances.json").write_text(json.dumps(content))
    name, folder = "registered_squares", tmp_path / "data"
    register_coco_instances(name, {}, str(folder / "instances.json"), str(folder / "images"))
    yield name
    DatasetCatalog.remove(name)
    MetadataCatalog.remove(name)


def test_a_report_shows_a_registered_coco_set_and_boxes_without_masks(
    registered: str, tmp_path: Path
) -> None:
    content = _config("INSTANCES", tmp_path, tmp_path / "run")
    content["DATASETS"] = {"TRAIN": [registered], "TEST": [registered]}
    content["MODEL"] = {**content["MODEL"], "MASK_ON": False}
    first = write_config(tmp_path / "config.yaml", content)
    assert tool_main("train_net")(["--config-file", str(first)]) == 0
    assert tool_main("report")(["--config-file", str(tmp_path / "run" / "config.yaml")]) == 0
    assert len(list((tmp_path / "run" / "report").glob("*.png"))) == 2
